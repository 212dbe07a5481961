# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The engines of a model: which are built, which are reused, and what happens to wrong ones."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import trt as fake_trt
from fakes.device import FakeDevice

from tam_ros.model_files import TRACKER_GRAPHS, WeightsError
from tam_ros.runtime.base import EngineError
from tam_ros.runtime.engine_options import BuildProgress, EngineOptions
from tam_ros.tensorrt import prepare as prepare_module
from tam_ros.tensorrt.backend import open_runtime
from tam_ros.tensorrt.build_process import Result
from tam_ros.tensorrt.builder import BuildCancelledError, BuildSettings, build_engine
from tam_ros.tensorrt.prepare import (
    EnginePreparation,
    available_precision,
    engine_info,
    load_tensorrt,
)


class FakeBuild:
    """Builds with the fake TensorRT in this process; a test may choose the results."""

    def __init__(self) -> None:
        self.requests = []
        self.results: dict[tuple[str, str], Result] = {}

    def __call__(self, request, report, cancelled):
        self.requests.append(request)
        report('timing', 0.5)
        if cancelled():
            raise BuildCancelledError(f'building {request.graph} was cancelled')
        precision = Path(request.onnx).stem.rsplit('_', 1)[1]
        built = build_engine(
            fake_trt.make(),
            request.graph,
            Path(request.onnx).read_bytes(),
            BuildSettings(request.max_batch),
        )
        Path(request.plan).write_bytes(built.plan)
        Path(request.timings).write_bytes(built.timings)
        return self.results.get((request.graph, precision), Result('built', check='cosine 1'))


@pytest.fixture
def build():
    return FakeBuild()


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """The fake build compares nothing."""
    monkeypatch.setattr(prepare_module, 'cached_references', lambda *_: Path('reference'))


@pytest.fixture
def prepare(folder, spec, machine, cache, build):
    def make(precision='fp32', graphs=folder, trt=None, **options) -> EnginePreparation:
        options = {'build': 'if_missing', **options}
        return EnginePreparation(
            trt or fake_trt.make(),
            graphs,
            spec,
            precision,
            machine,
            EngineOptions(**options),
            cache,
            build,
        )

    return make


@pytest.fixture(scope='session')
def halved(folder, tmp_path_factory) -> Path:
    """A folder with graphs of both precisions; those of half precision are copies here."""
    both = tmp_path_factory.mktemp('graphs')
    for path in folder.iterdir():
        (both / path.name).write_bytes(path.read_bytes())
        if path.suffix == '.onnx':
            (both / path.name.replace('fp32', 'fp16')).write_bytes(path.read_bytes())
    return both


def test_engines_are_built_once(prepare, build, spec, caplog):
    caplog.set_level('INFO')
    seen: list[BuildProgress] = []
    plans = prepare(progress=seen.append, max_objects=3).plans()
    assert set(plans) == set(spec.graph_names) and all(plan.fresh for plan in plans.values())
    assert [request.graph for request in build.requests] == list(spec.graph_names)
    assert {request.max_batch for request in build.requests} == {3}
    assert [(one.index, one.graphs) for one in seen if one.phase == 'starting'] == [
        (index, len(plans)) for index in range(len(plans))
    ]
    assert 'efficienttam_nano has no engine of image_encoder yet' in caplog.text
    again = prepare().plans()
    assert len(build.requests) == len(plans) and not any(one.fresh for one in again.values())
    assert {name: plan.data for name, plan in again.items()} == {
        name: plan.data for name, plan in plans.items()
    }


def test_the_timing_cache_is_saved(prepare, build, cache, machine):
    prepare().plans()
    assert cache.timings(machine.key()) == b'timings'
    assert not list(cache.root.glob('.build-*'))


def test_missing_engines_are_not_built_unless_the_options_allow_it(prepare, build):
    with pytest.raises(EngineError) as caught:
        prepare(build='never').plans()
    assert 'has no engine of image_encoder' in str(caught.value)
    assert '`tam build efficienttam_nano`' in str(caught.value)
    assert 'build_engines:=if_missing' in str(caught.value)
    assert build.requests == []


def test_another_tensorrt_means_another_build(prepare, build, machine, caplog):
    prepare().plans()
    caplog.set_level('INFO')
    preparation = prepare()
    preparation.machine = replace(machine, tensorrt='10.13.3')
    preparation.plans()
    assert len(build.requests) == 2 * len(TRACKER_GRAPHS)
    assert 'does not match: tensorrt is 10.3.0, not 10.13.3' in caplog.text


def test_cancelling_keeps_finished_engines(prepare, build):
    with pytest.raises(BuildCancelledError):
        prepare(cancelled=lambda: len(build.requests) > 2).plans()
    assert len(build.requests) == 3
    prepare().plans()
    assert len(build.requests) == 3 + len(TRACKER_GRAPHS) - 2


def test_an_engine_that_another_process_built_meanwhile_is_used(prepare, build, monkeypatch):
    waiting, other = prepare(), prepare()
    locked = waiting._cache.locked

    @contextlib.contextmanager
    def after_the_other(*arguments):
        monkeypatch.setattr(waiting._cache, 'locked', locked)
        other.plans()
        with locked(*arguments):
            yield

    monkeypatch.setattr(waiting._cache, 'locked', after_the_other)
    plans = waiting.plans()
    assert len(build.requests) == len(TRACKER_GRAPHS) and not any(
        plan.fresh for plan in plans.values()
    )


def test_a_graph_that_is_wrong_in_half_precision_is_built_in_single(
    prepare, build, halved, caplog
):
    build.results['image_encoder', 'fp16'] = Result('built', good=False, check='cosine 0.81')
    plans = prepare('fp16', halved).plans()
    record = plans['image_encoder'].record
    assert (record.built_from, record.note) == (
        'fp32',
        'the engine in fp16 computes wrong results here (cosine 0.81)',
    )
    assert {plan.record.built_from for name, plan in plans.items() if name != 'image_encoder'} == {
        'fp16'
    }
    assert 'image_encoder is built in single precision' in caplog.text
    # The next start does not build it again.
    assert len(build.requests) == len(TRACKER_GRAPHS) + 1
    assert not prepare('fp16', halved).plans()['image_encoder'].fresh
    info = engine_info(fake_trt.make(), FakeDevice(), 'fp16', plans)
    assert info['precision'] == 'fp16, but fp32 in image_encoder'


def test_a_graph_that_is_wrong_in_both_is_not_used(prepare, build, halved, cache):
    for precision in ('fp16', 'fp32'):
        build.results['memory_encoder', precision] = Result('built', good=False, check='bad')
    for precision, message in (
        ('fp16', 'does not agree with its graph in single precision either'),
        ('fp32', 'does not agree with its graph .bad. on'),
    ):
        with pytest.raises(EngineError, match=message):
            prepare(precision, halved).plans()
    assert not [entry for entry in cache.entries() if 'memory_encoder' in entry.path.name]


def opened(preparation, device=None):
    loaded = preparation.load(lambda: device or FakeDevice())
    return open_runtime(loaded, preparation.options)


def test_engines_become_a_runtime(prepare):
    with opened(prepare()) as runtime:
        assert runtime.info['device'] == 'Fake Orin' and runtime.info['precision'] == 'fp32'
        assert runtime.info['engine'].startswith('TensorRT 10.3.0, built 20')
    runtime.close()  # again


def test_an_engine_that_cannot_be_loaded_is_built_again_once(prepare, build, cache, caplog):
    prepare().plans()
    identity = prepare().identity('mask_decoder')
    plan = b'of another TensorRT with the same version'
    cache.save(identity, plan, objects=4, built_from='fp32', check='')
    opened(prepare()).close()
    assert len(build.requests) == len(TRACKER_GRAPHS) + 1
    assert build.requests[-1].graph == 'mask_decoder'
    assert 'cannot be loaded: magicTag mismatch; building it again' in caplog.text


def test_an_engine_that_cannot_be_loaded_is_deleted_if_building_is_off(prepare, cache):
    prepare().plans()
    identity = prepare().identity('mask_decoder')
    cache.save(identity, b'something', objects=4, built_from='fp32', check='')
    device = FakeDevice()
    with pytest.raises(EngineError, match='It was deleted; build it again with `tam build'):
        opened(prepare(build='never'), device)
    assert cache.find(identity).plan is None and device.closed


def test_a_new_engine_that_cannot_be_loaded_is_not_built_again(prepare, build):
    class Rejecting(fake_trt.Runtime):
        def deserialize_cuda_engine(self, plan):
            self.logger.log(1, 'no kernel image is available')
            return None

    device = FakeDevice()
    with pytest.raises(EngineError, match='no kernel image'):
        opened(prepare(trt=fake_trt.make(Runtime=Rejecting)), device)
    assert len(build.requests) == len(TRACKER_GRAPHS) and device.closed


def test_auto_is_half_precision_if_the_folder_has_it(folder, spec, halved, caplog):
    caplog.set_level(logging.WARNING)
    assert available_precision(halved, spec, 'auto') == 'fp16'
    assert available_precision(folder, spec, 'auto') == 'fp32'
    assert 'no graphs in half precision' in caplog.text
    assert available_precision(halved, spec, 'fp32') == 'fp32'


def test_missing_half_precision_is_not_replaced(prepare, folder):
    with pytest.raises(WeightsError, match='contains no image_encoder_fp16.onnx'):
        prepare('fp16', folder).plans()


def test_a_missing_or_incomplete_tensorrt_is_reported(monkeypatch):
    if importlib.util.find_spec('tensorrt') is None:
        with pytest.raises(EngineError, match='TensorRT is not installed.*docs/jetson.md'):
            load_tensorrt()
    monkeypatch.setitem(sys.modules, 'tensorrt', type(sys)('tensorrt'))
    sys.modules['tensorrt'].__file__ = '/usr/lib/lean.py'
    with pytest.raises(EngineError, match='has no builder'):
        load_tensorrt()
