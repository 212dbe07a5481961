# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The version in `model.json`."""

from __future__ import annotations

import json

import pytest

from tam_ros import catalogue
from tam_ros.model_files import (
    DESCRIPTION,
    FORMAT,
    GraphSpec,
    ModelSpec,
    TensorSpec,
    WeightsError,
    read_spec,
)

BUNDLED = catalogue.engines_dir() / 'efficienttam_nano'
OTHER_KIND = ModelSpec(
    name='toy_64',
    weights='untrained',
    fingerprint='untrained',
    kind='toy',
    graphs=(
        GraphSpec('net', (TensorSpec('x', 'float32', (2,)),), (TensorSpec('y', 'float32', (2,)),)),
    ),
)


@pytest.mark.parametrize('spec', [OTHER_KIND, read_spec(BUNDLED)], ids=['other', 'tracker'])
def test_the_version_is_written_and_checked(spec, tmp_path):
    path = tmp_path / DESCRIPTION
    path.write_text(spec.to_json())
    values = json.loads(path.read_text())
    assert values['format'] == FORMAT == 3
    assert read_spec(tmp_path) == spec
    for version in (2, 4, '3', None):
        path.write_text(json.dumps({**values, 'format': version}))
        with pytest.raises(WeightsError, match='another version of tam_ros; export again'):
            read_spec(tmp_path)
    del values['format']
    path.write_text(json.dumps(values))
    assert read_spec(tmp_path) == spec


def test_an_older_folder_of_a_tracker_stays_readable(tmp_path):
    values = json.loads((BUNDLED / DESCRIPTION).read_text())
    for name in ('format', 'kind', 'high_resolution'):
        del values[name]
    (tmp_path / DESCRIPTION).write_text(json.dumps(values))
    assert read_spec(tmp_path) == read_spec(BUNDLED)
