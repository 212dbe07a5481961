# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A model that is not a tracker is exported and run by every backend on the host."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch
import toy_model

from tam_ros.export.onnx import export_model
from tam_ros.loading import open_exported, open_exported_graphs, open_graphs, open_runtime
from tam_ros.model_files import GRAPH_PRECISIONS, WeightsError, file_name, read_spec
from tam_ros.models.build import build_network

# Backend, precision, and the largest difference from the network's own outputs, relative to the
# largest of them.
RUNS = [
    ('torch', 'fp32', 1e-6),
    ('onnxruntime', 'fp32', 1e-5),
    ('onnxruntime', 'fp16', 5e-3),
    ('openvino', 'fp32', 1e-5),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def entry(monkeypatch):
    return toy_model.add(monkeypatch)


@pytest.fixture
def folder(entry, tmp_path):
    return export_model(entry, 'untrained', tmp_path / 'graphs')


def inputs(batch):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, 32, 32, 3), np.uint8)
    return image, random.normal(size=(batch, 4, 16)).astype(np.float32)


def run(graphs, image, queries):
    """Run the second graph on the output of the first one."""
    features = graphs.sessions['encode_image'].run({'image': image})['features']
    matched = graphs.sessions['match_queries'].run({'features': features, 'queries': queries})
    return {'features': features, **matched}


def test_the_folder_describes_the_graphs(folder, entry):
    spec = read_spec(folder)
    assert spec.kind == entry.kind and spec.graph_names == ('encode_image', 'match_queries')
    assert {path.name for path in folder.iterdir()} == {
        'model.json',
        'SHA256SUMS',
        *(file_name(name, p) for name in spec.graph_names for p in GRAPH_PRECISIONS),
    }
    for graph in spec.graphs:
        for precision in GRAPH_PRECISIONS:
            model = onnx.load(folder / file_name(graph.name, precision)).graph
            for values, tensors in ((model.input, graph.inputs), (model.output, graph.outputs)):
                assert [value.name for value in values] == [tensor.name for tensor in tensors]
                for value, tensor in zip(values, tensors, strict=True):
                    batch, *sizes = value.type.tensor_type.shape.dim
                    assert bool(batch.dim_param) == tensor.batched
                    assert tuple(size.dim_value for size in sizes) == tensor.full_shape(1)[1:]


@pytest.mark.parametrize(('runtime', 'precision', 'limit'), RUNS)
@pytest.mark.parametrize('batch', [1, 3])
def test_backends_compute_the_network(entry, folder, runtime, precision, limit, batch):
    if find_spec(runtime) is None:
        pytest.skip(f'{runtime} is not installed')
    image, queries = inputs(batch)
    network = build_network(entry, 'untrained')
    with torch.inference_mode():
        features = toy_model.EncodeImage(network)(torch.from_numpy(image))
        similarity, scores = network.matcher(features, torch.from_numpy(queries))
    wanted = {'features': features, 'similarity': similarity, 'scores': scores}
    source = folder if runtime != 'torch' else 'untrained'
    with open_graphs(entry.name, source, runtime, precision=precision) as graphs:
        assert graphs.spec == read_spec(folder)
        assert graphs.info['precision'] == GRAPH_PRECISIONS[precision]
        found = run(graphs, image, queries)
        again = run(graphs, 255 - image, -queries)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        expected = value.numpy()
        assert found[name].shape == expected.shape and found[name].dtype == np.float32
        difference = np.abs(found[name] - expected).max() / np.abs(expected).max()
        assert difference <= limit, name
        if precision == 'fp16' and name != 'scores':  # whose head is in single precision
            assert difference > 1e-5, f'{name} is not in half precision'
        assert not np.array_equal(found[name], again[name]), f'{name}: overwritten by a later run'


def test_the_graphs_of_a_folder_need_no_catalogue(folder, monkeypatch):
    monkeypatch.undo()  # the entry is gone
    with open_exported_graphs(folder) as graphs:
        assert run(graphs, *inputs(2))['scores'].shape == (2, 4)


def test_it_is_exported_on_first_use(entry):
    with open_graphs(entry.name, 'untrained') as graphs:
        assert run(graphs, *inputs(1))['scores'].shape == (1, 4)


def test_it_cannot_be_opened_as_a_tracker(entry, folder):
    for opened in (
        lambda: open_runtime(entry.name, 'untrained'),
        lambda: open_exported(folder),
        lambda: open_exported(folder, 'openvino'),
    ):
        with pytest.raises(WeightsError, match='toy_matcher is a matcher, not a tracker'):
            opened()


def test_closing_the_graphs_closes_every_session(folder, monkeypatch):
    closed = []
    graphs = open_exported_graphs(folder)
    for name, session in graphs.sessions.items():
        monkeypatch.setattr(session, 'close', lambda name=name: closed.append(name))
    with pytest.raises(KeyError, match='no_such_graph'), graphs:
        graphs.spec.graph('no_such_graph')
    assert closed == ['encode_image', 'match_queries']
