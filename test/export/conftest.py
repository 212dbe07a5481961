# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Graphs of the models, exported once for all tests of a model."""

from __future__ import annotations

import shutil

import pooled
import pytest

from tam_ros import catalogue

# Every distinct architecture at its smallest size. The catalogue has pooled models at 1024 only.
SLOW = (
    'efficienttam_ti_512x512',
    'efficienttam_s_512x512',
    'efficienttam_ti_2',
    'edgetam_512',
)
# Architectures of the list above at 1024 pixels.
EXHAUSTIVE = (
    'efficienttam_ti',
    'efficienttam_ti_1',
    'efficienttam_s',
    'edgetam',
)
MODELS = [
    'efficienttam_nano',
    pooled.NAME,
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
    *(pytest.param(name, marks=pytest.mark.exhaustive) for name in EXHAUSTIVE),
]


@pytest.fixture(scope='session', params=MODELS)
def exported(request, tmp_path_factory):
    """Return a catalogue entry and its folder of graphs, with random weights."""
    # Not at the top: where torch is absent, the test files are skipped but this one is imported.
    from tam_ros.export.onnx import export_model

    with pytest.MonkeyPatch.context() as patch:
        pooled.add(patch)
        entry = catalogue.model(request.param)
    folder = tmp_path_factory.mktemp('graphs') / entry.name
    yield entry, export_model(entry, 'untrained', folder)
    shutil.rmtree(folder)
