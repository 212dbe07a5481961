# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bundled graphs, a fake machine, and an empty engine cache.

This folder tests tam_ros/tensorrt. It is not called `tensorrt`: the folder above is on the path,
and `import tensorrt` would find it where TensorRT is not installed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tam_ros import catalogue
from tam_ros.model_files import TrackerSpec, as_tracker, read_spec
from tam_ros.tensorrt.engine_cache import EngineCache
from tam_ros.tensorrt.identity import Machine

MACHINE = Machine('10.3.0', 'Fake Orin', '8.7', 8, '12.6', '36.4.3')


@pytest.fixture(scope='session')
def folder() -> Path:
    return catalogue.engines_dir() / 'efficienttam_nano'


@pytest.fixture(scope='session')
def spec(folder) -> TrackerSpec:
    return as_tracker(read_spec(folder))


@pytest.fixture
def machine() -> Machine:
    return MACHINE


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache(tmp_path / 'engines')
