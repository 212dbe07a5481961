# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A model that is not a tracker: its engines are built, cached, checked, and run as sessions."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import toy_model
from fakes import machine as fake_machine
from fakes import trt as fake_trt
from fakes.device import FakeDevice

from tam_ros.export.onnx import export_model
from tam_ros.graph_files import graph_file
from tam_ros.loading import FolderSource, open_graphs
from tam_ros.model_files import GraphSpec, TensorSpec, WeightsError, read_spec
from tam_ros.runtime.base import EngineError
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tensorrt.backend import TensorrtBackend
from tam_ros.tensorrt.buffers import Arena
from tam_ros.tensorrt.builder import BuildSettings, build_engine
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.engine_cache import EngineCache
from tam_ros.tensorrt.engine_runner import EngineSession
from tam_ros.tensorrt.golden import (
    cached_references,
    compute_references,
    load_references,
    random_inputs,
)
from tam_ros.tensorrt.self_check import check_engine, check_graphs

GRAPHS = ('encode_image', 'match_queries')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Graphs of the toy model, in both precisions."""
    with pytest.MonkeyPatch.context() as patch:
        entry = toy_model.add(patch)
        return export_model(entry, 'untrained', tmp_path_factory.mktemp('toy') / 'graphs')


@pytest.fixture(scope='module')
def reference(folder):
    return compute_references(folder, read_spec(folder))


@pytest.fixture
def devices(tmp_path, monkeypatch) -> list[FakeDevice]:
    """A machine with the fake TensorRT, the toy model in the catalogue, and an empty cache."""
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    toy_model.add(monkeypatch)
    return fake_machine.install(monkeypatch)


def open_toy(folder, build='never', **options):
    engines = EngineOptions(build=build, max_objects=2, **options)
    return open_graphs(toy_model.NAME, folder, 'tensorrt', precision='fp32', engines=engines)


def engine(folder, graph, max_batch=2, precision='fp32') -> Engine:
    trt = fake_trt.make()
    data = graph_file(folder, graph, precision).read_bytes()
    return Engine(trt, graph, build_engine(trt, graph, data, BuildSettings(max_batch)).plan)


def inputs(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        'features': rng.standard_normal((1, 16, 4, 4)).astype(np.float32),
        'queries': rng.standard_normal((batch, 4, 16)).astype(np.float32),
    }


def test_golden_inputs_are_deterministic_and_pass_outputs_on(folder, reference):
    assert tuple(reference) == GRAPHS
    again = compute_references(folder, read_spec(folder))
    for name, golden in reference.items():
        for key, array in golden.inputs.items():
            assert np.array_equal(array, again[name].inputs[key])
    assert np.array_equal(
        reference['match_queries'].inputs['features'],
        reference['encode_image'].outputs['features'],
    )
    assert reference['encode_image'].inputs['image'].std() > 50


def test_references_are_cached(folder, cache, reference):
    path = cached_references(cache, folder, read_spec(folder))
    assert path.parent.name == toy_model.NAME
    for name, golden in load_references(path).items():
        for key, array in golden.outputs.items():
            assert np.array_equal(array, reference[name].outputs[key])


def test_engines_are_built_checked_cached_and_run(devices, folder, reference, monkeypatch):
    fake_machine.install(monkeypatch, own_process=True)
    with pytest.raises(EngineError, match='has no engine of encode_image yet; build the engines'):
        open_toy(folder)
    assert not devices
    loaded = open_toy(folder, build='if_missing')
    entries = EngineCache().entries()
    assert [entry.path.parent.name for entry in entries] == [toy_model.NAME] * 2
    for entry in entries:
        assert entry.record.objects == 2 and entry.record.check.startswith('cosine 1.00000')
    assert loaded.spec.kind == toy_model.KIND and tuple(loaded.sessions) == GRAPHS
    assert loaded.info['device'] == 'Fake Orin' and loaded.info['precision'] == 'fp32'
    assert all(found.good for found in check_graphs(loaded, reference).values())
    loaded.close()
    again = open_toy(folder)
    assert [entry.record for entry in EngineCache().entries()] == [e.record for e in entries]
    again.close()


@pytest.mark.parametrize('options', [{}, {'zero_copy': True, 'cuda_graphs': True}])
def test_sessions_compute_what_onnx_runtime_computes(devices, folder, options):
    loaded = open_toy(folder, build='if_missing', **options)
    theirs = open_graphs(toy_model.NAME, folder, 'onnxruntime', precision='fp32')
    rng = np.random.default_rng(0)
    for _ in range(3):
        image = {'image': rng.integers(0, 256, (1, 32, 32, 3), np.uint8)}
        encoded = [one.sessions['encode_image'].run(image) for one in (loaded, theirs)]
        assert np.array_equal(*(one['features'] for one in encoded))
        queries = rng.standard_normal((5, 4, 16)).astype(np.float32)  # more than one batch
        matched = [
            one.sessions['match_queries'].run({**outputs, 'queries': queries})
            for one, outputs in zip((loaded, theirs), encoded, strict=True)
        ]
        assert matched[0]['similarity'].shape == (5, 4, 4, 4)
        for name in ('similarity', 'scores'):
            np.testing.assert_allclose(matched[0][name], matched[1][name], atol=1e-6)
    assert (devices[0].launches > 0) == options.get('cuda_graphs', False)
    loaded.close()
    theirs.close()


def test_outputs_are_not_overwritten_by_the_next_run(devices, folder):
    loaded = open_toy(folder, build='if_missing')
    session = loaded.sessions['match_queries']
    first = session.run(inputs(2))
    kept = {name: array.copy() for name, array in first.items()}
    session.run({name: -array for name, array in inputs(2).items()})
    assert all(np.array_equal(first[name], array) for name, array in kept.items())
    loaded.close()


def test_the_device_is_closed_with_the_last_session(devices, folder):
    loaded = open_toy(folder, build='if_missing')
    (device,) = devices
    first, second = loaded.sessions.values()
    first.close()
    first.close()
    assert not device.closed
    with second:
        second.run(inputs(1))
    assert device.closed and device.allocated == 0


def test_too_little_device_memory_closes_the_device(devices, folder, monkeypatch):
    open_toy(folder, build='if_missing').close()
    small = FakeDevice(total=4096)
    monkeypatch.setattr('tam_ros.tensorrt.prepare.PycudaDevice', lambda: small)
    with pytest.raises(EngineError, match='MB cannot be allocated'):
        open_toy(folder)
    assert small.closed


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'queries': None}, 'the inputs of match_queries are features, queries, not features'),
        ({'more': np.zeros(1)}, 'not features, more, queries'),
        ({'queries': np.zeros((2, 4, 17), np.float32)}, r'queries .* \(2, 4, 17\) instead of'),
        (
            {'features': np.zeros((1, 16, 4, 5), np.float32)},
            r'features .* \(1, 16, 4, 5\) instead',
        ),
        ({'queries': np.zeros((0, 4, 16), np.float32)}, 'cannot run the batch sizes'),
    ],
)
def test_wrong_inputs_are_refused(folder, changes, message):
    device = FakeDevice()
    arena, one = Arena(device), engine(folder, 'match_queries')
    one.prepare(arena.block(one.scratch_bytes).address)
    given = {name: array for name, array in (inputs(2) | changes).items() if array is not None}
    with EngineSession(arena, one) as session, pytest.raises(ValueError, match=message):
        session.run(given)
    device.wait()
    arena.close()
    device.close()


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
@pytest.mark.parametrize('graph', GRAPHS)
def test_engines_agree_with_the_reference(folder, reference, graph, precision):
    device = FakeDevice()
    found = check_engine(engine(folder, graph, 3, precision), device, reference[graph])
    assert found.good and found.iou is None
    device.close()  # everything was released


def test_an_engine_with_wrong_outputs_is_detected(folder, reference, tmp_path):
    model = onnx.load(graph_file(folder, 'match_queries', 'fp32'))
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array[::-1].copy(), tensor.name))
    trt = fake_trt.make()
    plan = build_engine(
        trt, 'match_queries', model.SerializeToString(), BuildSettings(max_batch=2)
    ).plan
    wrong = Engine(trt, 'match_queries', plan)
    assert not check_engine(wrong, FakeDevice(), reference['match_queries']).good


def test_a_reference_of_other_inputs_is_detected(folder, reference):
    golden = reference['encode_image']
    other = golden._replace(inputs={'image': 255 - golden.inputs['image']})
    assert not check_engine(engine(folder, 'encode_image'), FakeDevice(), other).good


def test_it_is_not_opened_as_a_tracker(devices, folder):
    backend = TensorrtBackend(None, 'fp32', EngineOptions(build='if_missing'))
    with pytest.raises(WeightsError, match='matcher'):
        backend.open_tracker(FolderSource(folder))
    assert not devices and not EngineCache().entries(), 'nothing was built'


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_its_graphs_are_built_by_a_real_builder(folder, precision):
    pytest.importorskip('tensorrt_rtx_libs', reason='TensorRT for RTX is not installed')
    rtx = importlib.import_module('fakes.rtx')
    for graph in GRAPHS:
        data = graph_file(folder, graph, precision).read_bytes()
        assert build_engine(rtx, graph, data, BuildSettings(max_batch=2)).plan


def test_the_golden_image_of_a_detector_is_drawn():
    image = TensorSpec('image', 'float32', (1, 32, 32, 3))
    other = TensorSpec('features', 'float32', (1, 32, 32, 3))
    found = random_inputs(GraphSpec('detect', (image, other), ()))
    assert found['image'].dtype == np.float32 and found['image'].min() >= 0
    assert 100 < found['image'].max() <= 255 and abs(found['features'].mean()) < 0.1
