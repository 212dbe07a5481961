# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bundled graphs, and a machine that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tam_ros import catalogue
from tam_ros.plans.cache import PlanCache
from tam_ros.plans.identity import Machine
from tam_ros.runtime.base import ModelSpec

MACHINE = Machine('10.3.0', 'Fake Orin', '8.7', 8, '12.6', '36.4.3')


@pytest.fixture(scope='session')
def folder() -> Path:
    return catalogue.engines_dir() / 'efficienttam_nano'


@pytest.fixture(scope='session')
def spec(folder) -> ModelSpec:
    return ModelSpec.from_json((folder / 'model.json').read_text())


@pytest.fixture
def machine() -> Machine:
    return MACHINE


@pytest.fixture
def cache(tmp_path) -> PlanCache:
    return PlanCache(tmp_path / 'engines')
