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


def changed(**values):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (changed(name='../../victim'), 'the name'),
        (changed(name='a/b'), 'the name'),
        (changed(name=''), 'the name'),
        (changed(name='x' * 200), 'the name'),
        (changed(name=5), 'name is 5'),
        (changed(slots='7'), "slots is '7'"),
        (changed(slots=7.0), 'slots is 7.0'),
        (changed(slots=True), 'slots is True'),
        (changed(slots=0), 'slots is 0, not 1'),
        (changed(memory_tokens=10**9), 'memory_tokens is 1000000000'),
        (changed(image_size=1), 'image_size is 1, not 16'),
        (changed(image_size=100), 'not a multiple of 16'),
        (changed(mask_downsample_bias=float('nan')), 'mask_downsample_bias is nan'),
        (changed(mask_downsample_weight=[1.0]), 'has not 16 numbers'),
        (changed(mask_downsample_weight=7), 'cannot be read'),
        (changed(unknown=1), 'unknown'),
        (changed(kind='toy', graphs=[]), 'cannot be read'),
        (lambda path: path.write_text('[]'), 'cannot be read'),
        (lambda path: path.write_text('[' * 5000), 'cannot be read'),
        (lambda path: path.write_text('9' * 5000), 'cannot be read'),
        (lambda path: path.write_bytes(b'\xff\xfe{}'), 'cannot be read'),
        (lambda path: path.write_bytes(b' ' * (1 << 21)), 'at most'),
        (lambda path: (path.unlink(), path.symlink_to('/dev/zero')), 'not a regular file'),
    ],
)
def test_a_wrong_description_is_refused_with_its_name(tmp_path, change, reason):
    path = tmp_path / DESCRIPTION
    path.write_text((BUNDLED / DESCRIPTION).read_text())
    change(path)
    with pytest.raises(WeightsError, match=reason) as caught:
        read_spec(tmp_path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    'change',
    [
        lambda graph: graph.update(name='../net'),
        lambda graph: graph.update(fold_constants='no'),
        lambda graph: graph['inputs'][0].update(dtype='object'),
        lambda graph: graph['inputs'][0].update(shape=[1 << 20, 1 << 20]),
        lambda graph: graph['inputs'][0].update(shape=['2']),
    ],
)
def test_a_wrong_graph_is_refused(tmp_path, change):
    values = json.loads(OTHER_KIND.to_json())
    change(values['graphs'][0])
    (tmp_path / DESCRIPTION).write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=r'model\.json'):
        read_spec(tmp_path)
