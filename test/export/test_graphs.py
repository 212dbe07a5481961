# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The exported graphs: their operators, their size, and that they compute the network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import toy_model
from safetensors.torch import save_file

from tam_ros import catalogue
from tam_ros.export.onnx import export_model
from tam_ros.loading import open_exported_graphs
from tam_ros.model_files import GRAPH_PRECISIONS, SINGLE_MEMORY, TRACKER_GRAPHS, file_name
from tam_ros.models.build import build_network

# Operators of dynamic shapes and control flow, which a static graph must not contain.
DYNAMIC = {'Shape', 'Size', 'NonZero', 'Loop', 'If', 'Scan', 'Range', 'Attention', 'Unique'}


def test_operators_and_shapes(exported):
    entry, folder = exported
    pooled = 'cross_attention' in entry.config
    names = {path.name for path in folder.glob('*.onnx')}
    assert names == {
        file_name(name, precision)
        for precision in GRAPH_PRECISIONS
        for name in (*TRACKER_GRAPHS, *([SINGLE_MEMORY] if pooled else []))
    }
    for path in folder.glob('*.onnx'):
        model = onnx.load(path)
        assert [(o.domain, o.version) for o in model.opset_import] == [('', 17)]
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & DYNAMIC, path.name
        for value in (*model.graph.input, *model.graph.output):
            dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            assert dims[0] in (1, 'objects'), (path.name, value.name, dims)
            assert all(isinstance(d, int) for d in dims[1:]), (path.name, value.name, dims)


def test_memory_attention_stores_its_tables_once(exported):
    entry, folder = exported
    network = build_network(entry, 'untrained')
    weights = sum(p.numel() for p in network.memory_attention.parameters())
    for name in ('memory_attention', SINGLE_MEMORY):
        for precision, width in (('fp32', 4), ('fp16', 2)):
            path = folder / file_name(name, precision)
            if path.exists():
                size = path.stat().st_size / width
                assert size <= 1.2 * weights, (path.name, size / weights)


def test_graphs_compute_the_network_for_one_object_and_for_three(exported):
    entry, folder = exported
    network = build_network(entry, 'untrained')
    graphs = open_exported_graphs(folder)
    spec = graphs.spec
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    def same(graph, function, inputs, **fixed):
        ours = graphs.sessions[graph].run(inputs).values()
        with torch.inference_mode():
            theirs = function(*(torch.from_numpy(x) for x in inputs.values()), **fixed)
        if graph == 'memory_encoder':
            theirs = theirs.bfloat16().float()
        for a, b in zip(ours, theirs if isinstance(theirs, tuple) else (theirs,), strict=True):
            b = b.numpy()
            assert a.shape == b.shape
            difference = np.abs(a - b)
            if graph == 'memory_encoder':  # a few values may be rounded the other way, by one step
                assert np.count_nonzero(difference) <= 0.01 * difference.size
                difference = np.maximum(difference - 2.0**-7 * np.abs(b), 0)
            assert difference.max() <= 1e-3 * max(b.std(), 1e-3), graph

    grid, mask = spec.image_size // 16, spec.mask_size
    finer = (
        {
            'stride_8': normal(1, spec.dim // 4, 2 * grid, 2 * grid),
            'stride_4': normal(1, spec.dim // 8, 4 * grid, 4 * grid),
        }
        if network.config.high_resolution
        else {}
    )
    image = random.integers(0, 256, (1, spec.image_size, spec.image_size, 3), np.uint8)
    same('image_encoder', network.encode_image, {'image': image})
    features = normal(1, spec.dim, grid, grid)
    for objects in (1, 3) if spec.image_size < 1024 else (1,):

        def attention(slots, objects=objects):
            return {
                'features': features,
                'memories': normal(objects, slots, spec.memory_tokens, spec.memory_dim),
                'temporal_index': random.integers(0, 7, (objects, slots)),
                'memory_valid': np.ones((objects, slots), np.float32),
                'pointers': normal(objects, spec.pointer_slots, spec.dim),
                'pointer_valid': (random.random((objects, spec.pointer_slots)) < 0.5).astype(
                    np.float32
                ),
            }

        same('memory_attention', network.attend_memory, attention(spec.slots), pooled=spec.pooled)
        if spec.pooled:
            same(SINGLE_MEMORY, network.attend_memory, attention(1), pooled=False)
        labels = random.integers(-2, 4, (objects, spec.point_tokens))
        same(
            'mask_decoder',
            network.decode_masks,
            {
                'features': normal(objects, spec.dim, grid, grid),
                'points': (
                    random.random((objects, spec.point_tokens, 2)) * spec.image_size
                ).astype(np.float32),
                'labels': labels,
                'mask': normal(objects, 1, mask, mask),
                'has_mask': (np.arange(objects) % 2).astype(np.float32),
                **finer,
            },
        )
        same(
            'memory_encoder',
            network.encode_memory,
            {
                'features': features,
                'masks': 5 * normal(objects, 1, mask, mask),
                'prompted': (np.arange(objects) % 2).astype(np.float32),
            },
        )


def test_half_precision_weights_take_half_the_space_and_change_nothing(tmp_path):
    entry = catalogue.model('efficienttam_nano')
    halves = {
        key: value.half() for key, value in build_network(entry, 'untrained').state_dict().items()
    }
    save_file(halves, tmp_path / 'weights.safetensors')
    save_file(
        {key: value.float() + 1e-6 for key, value in halves.items()},
        tmp_path / 'not_halves.safetensors',
    )
    small, large = (
        export_model(entry, tmp_path / f'{name}.safetensors', tmp_path / name)
        for name in ('weights', 'not_halves')
    )
    size = {
        folder: (folder / file_name('image_encoder', 'fp32')).stat().st_size
        for folder in (small, large)
    }
    assert size[small] < 0.6 * size[large]
    image = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    with torch.inference_mode():
        expected = (
            build_network(entry, tmp_path / 'weights.safetensors')
            .encode_image(torch.from_numpy(image)[None])[0]
            .numpy()
        )
    session = open_exported_graphs(small).sessions['image_encoder']
    features = session.run({'image': image[None]})['features']
    assert np.abs(features - expected).max() < 1e-4 * expected.std()


def test_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('tam_ros.export.onnx.export_graph', fail)
    with pytest.raises(KeyboardInterrupt):
        export_model(catalogue.model('efficienttam_nano'), 'untrained', tmp_path / 'graphs')
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused_and_stays(tmp_path, monkeypatch):
    entry = toy_model.add(monkeypatch)
    photo = tmp_path / 'pictures' / 'photo.jpg'
    photo.parent.mkdir()
    photo.write_bytes(b'precious')
    for target in (photo.parent, photo):
        with pytest.raises(FileExistsError, match=f'{target} exists and is not an empty folder'):
            export_model(entry, 'untrained', target)
    assert photo.read_bytes() == b'precious' and list(photo.parent.iterdir()) == [photo]
    # Not even graphs of an earlier export are replaced.
    folder = export_model(entry, 'untrained', tmp_path / 'graphs')
    with pytest.raises(FileExistsError, match='not an empty folder'):
        export_model(entry, 'untrained', folder)
    assert {path.name for path in tmp_path.iterdir()} == {'pictures', 'graphs'}


def test_a_folder_that_is_filled_during_the_export_stays(tmp_path, monkeypatch):
    entry, folder = toy_model.add(monkeypatch), tmp_path / 'graphs'

    def fill(*_):
        folder.mkdir(exist_ok=True)
        (folder / 'of another process').touch()

    monkeypatch.setattr('tam_ros.export.onnx.export_graph', fill)
    with pytest.raises(OSError, match='not empty'):
        export_model(entry, 'untrained', folder)
    assert [path.name for path in folder.iterdir()] == ['of another process']


def test_an_empty_folder_may_exist(tmp_path, monkeypatch):
    folder = tmp_path / 'graphs'
    folder.mkdir()
    export_model(toy_model.add(monkeypatch), 'untrained', folder)
    assert (folder / 'model.json').is_file()


@pytest.mark.slow
def test_batch_norm_and_parallel_branches_are_fused(tmp_path):
    folder = export_model(catalogue.model('edgetam_512'), 'untrained', tmp_path / 'graphs')
    model = onnx.load(folder / file_name('image_encoder', 'fp32'))
    kinds = [node.op_type for node in model.graph.node]
    assert 'BatchNormalization' not in kinds
    assert kinds.count('Conv') == 103 + 4 + 2  # trunk, neck, finer features
