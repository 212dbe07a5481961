# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""All plans of a model: what is built, what is taken, and what happens when one is wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import trt as fake_trt
from fakes.device import FakeDevice

from tam_ros.model_files import TRACKER_GRAPHS, WeightsError
from tam_ros.runtime.base import EngineError
from tam_ros.runtime.engine_options import BuildProgress, EngineOptions
from tam_ros.tensorrt import opening, worker
from tam_ros.tensorrt import prepare as preparing
from tam_ros.tensorrt.failures import BuildCancelledError
from tam_ros.tensorrt.opening import available_precision, load, load_tensorrt
from tam_ros.tensorrt.prepare import Preparation
from tam_ros.tensorrt.worker import Result


class FakeBuild:
    """Builds with the fake TensorRT in this process, or says what it is told to."""

    def __init__(self) -> None:
        self.requests = []
        self.answers: dict[tuple[str, str], Result] = {}

    def __call__(self, request, report, cancelled):
        self.requests.append(request)
        report('half way', 0.5)
        if cancelled():
            raise BuildCancelledError(f'building {request.graph} was cancelled')
        precision = Path(request.onnx).stem.rsplit('_', 1)[1]
        trt = fake_trt.make()
        built = worker.build_plan(
            trt,
            request.graph,
            Path(request.onnx).read_bytes(),
            worker.BuildSettings(request.objects),
        )
        Path(request.plan).write_bytes(built.plan)
        Path(request.timings).write_bytes(built.timings)
        return self.answers.get((request.graph, precision), Result('built', check='cosine 1'))


@pytest.fixture
def build():
    return FakeBuild()


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """Nothing is compared here."""
    monkeypatch.setattr(preparing, 'kept_references', lambda *_: Path('reference'))


@pytest.fixture
def prepare(folder, spec, machine, cache, build):
    def make(precision='fp32', graphs=folder, **options) -> Preparation:
        options = {'build': 'if_missing', **options}
        return Preparation(
            graphs, spec, precision, machine, EngineOptions(**options), cache, build
        )

    return make


@pytest.fixture(scope='session')
def halved(folder, tmp_path_factory) -> Path:
    """A folder with graphs of both precisions; those of half precision are no others here."""
    both = tmp_path_factory.mktemp('graphs')
    for path in folder.iterdir():
        (both / path.name).write_bytes(path.read_bytes())
        if path.suffix == '.onnx':
            (both / path.name.replace('fp32', 'fp16')).write_bytes(path.read_bytes())
    return both


def test_plans_are_built_once(prepare, build, spec, caplog):
    caplog.set_level('INFO')
    seen: list[BuildProgress] = []
    plans = prepare(progress=seen.append, max_objects=3).plans()
    assert set(plans) == set(spec.graph_names) and all(plan.fresh for plan in plans.values())
    assert [request.graph for request in build.requests] == list(spec.graph_names)
    assert {request.objects for request in build.requests} == {3}
    assert [(one.index, one.graphs) for one in seen if one.phase == 'starting'] == [
        (index, len(plans)) for index in range(len(plans))
    ]
    assert 'there is no engine of image_encoder for efficienttam_nano yet' in caplog.text
    again = prepare().plans()
    assert len(build.requests) == len(plans) and not any(one.fresh for one in again.values())
    assert {name: plan.data for name, plan in again.items()} == {
        name: plan.data for name, plan in plans.items()
    }


def test_timings_of_one_build_serve_the_next(prepare, build, cache, machine):
    prepare().plans()
    assert cache.timings(machine.key()) == b'timings'
    assert not list(cache.root.glob('.build-*'))


def test_missing_plans_are_not_built_unless_that_is_wanted(prepare, build):
    with pytest.raises(EngineError) as caught:
        prepare(build='never').plans()
    assert 'there is no engine of image_encoder' in str(caught.value)
    assert '`tam build efficienttam_nano`' in str(caught.value)
    assert 'build_engines:=if_missing' in str(caught.value)
    assert build.requests == []


def test_another_tensorrt_means_another_build(prepare, build, machine, caplog):
    prepare().plans()
    caplog.set_level('INFO')
    preparation = prepare()
    preparation._machine = replace(machine, tensorrt='10.13.3')
    preparation.plans()
    assert len(build.requests) == 2 * len(TRACKER_GRAPHS)
    assert 'is another: tensorrt is 10.3.0, not 10.13.3' in caplog.text


def test_cancelling_keeps_what_was_finished(prepare, build):
    with pytest.raises(BuildCancelledError):
        prepare(cancelled=lambda: len(build.requests) > 2).plans()
    assert len(build.requests) == 3
    prepare().plans()
    assert len(build.requests) == 3 + len(TRACKER_GRAPHS) - 2


def test_what_another_process_has_built_meanwhile_is_taken(prepare, build, monkeypatch):
    waits, other = prepare(), prepare()
    locked = waits._cache.locked

    @contextlib.contextmanager
    def after_the_other(*arguments):
        monkeypatch.setattr(waits._cache, 'locked', locked)
        other.plans()
        with locked(*arguments):
            yield

    monkeypatch.setattr(waits._cache, 'locked', after_the_other)
    plans = waits.plans()
    assert len(build.requests) == len(TRACKER_GRAPHS) and not any(
        plan.fresh for plan in plans.values()
    )


def test_a_graph_that_is_wrong_in_half_precision_is_built_in_single(
    prepare, build, halved, caplog
):
    build.answers['image_encoder', 'fp16'] = Result('built', good=False, check='cosine 0.81')
    plans = prepare('fp16', halved).plans()
    record = plans['image_encoder'].record
    assert (record.built_from, record.note) == ('fp32', 'in fp16 it is wrong here (cosine 0.81)')
    assert {plan.record.built_from for name, plan in plans.items() if name != 'image_encoder'} == {
        'fp16'
    }
    assert 'image_encoder is built in single precision' in caplog.text
    # It is not tried again with every start.
    assert len(build.requests) == len(TRACKER_GRAPHS) + 1
    assert not prepare('fp16', halved).plans()['image_encoder'].fresh
    info = opening._info(fake_trt.make(), FakeDevice(), 'fp16', plans)
    assert info['precision'] == 'fp16, but fp32 in image_encoder'


def test_a_graph_that_is_wrong_in_both_is_not_used(prepare, build, halved, cache):
    for precision in ('fp16', 'fp32'):
        build.answers['memory_encoder', precision] = Result('built', good=False, check='bad')
    for precision, said in (
        ('fp16', 'wrong in single precision, too'),
        ('fp32', 'computes something else than its graph'),
    ):
        with pytest.raises(EngineError, match=said):
            prepare(precision, halved).plans()
    assert not [entry for entry in cache.entries() if 'memory_encoder' in entry.path.name]


def opened(preparation, spec, trt=None, device=None, **options):
    return load(
        trt or fake_trt.make(),
        device or FakeDevice(),
        spec,
        'fp32',
        preparation,
        preparation.plans(),
        EngineOptions(**options),
    )


def test_plans_become_a_runtime(prepare, spec):
    runtime = opened(prepare(), spec)
    assert runtime.info['device'] == 'Fake Orin' and runtime.info['precision'] == 'fp32'
    assert runtime.info['engine'].startswith('TensorRT 10.3.0, built 20')
    runtime.close()


def test_a_plan_that_is_not_accepted_is_built_anew_once(prepare, spec, build, cache, caplog):
    preparation = prepare()
    preparation.plans()
    identity = preparation.identity('mask_decoder')
    cache.save(
        identity,
        b'of a TensorRT that said the same version',
        objects=4,
        built_from='fp32',
        check='',
    )
    opened(preparation, spec, build='if_missing').close()
    assert (
        len(build.requests) == len(TRACKER_GRAPHS) + 1
        and build.requests[-1].graph == 'mask_decoder'
    )
    assert 'cannot be loaded: magicTag mismatch; it is built anew' in caplog.text


def test_a_plan_that_is_not_accepted_is_deleted_where_nothing_is_built(
    prepare, spec, build, cache
):
    preparation = prepare()
    preparation.plans()
    identity = preparation.identity('mask_decoder')
    cache.save(identity, b'something', objects=4, built_from='fp32', check='')
    device = FakeDevice()
    with pytest.raises(EngineError, match='It was deleted; build it anew with `tam build'):
        opened(preparation, spec, device=device)
    assert cache.find(identity).plan is None and device.closed


def test_a_fresh_plan_that_is_not_accepted_is_no_endless_story(prepare, spec, build):
    class Refuses(fake_trt.Runtime):
        def deserialize_cuda_engine(self, plan):
            self.logger.log(1, 'no kernel image is available')
            return None

    with pytest.raises(EngineError, match='no kernel image'):
        opened(prepare(), spec, fake_trt.make(Runtime=Refuses), build='if_missing')
    assert len(build.requests) == len(TRACKER_GRAPHS)


def test_precision_is_what_is_there(folder, spec, halved, caplog):
    caplog.set_level(logging.INFO)
    assert available_precision(halved, spec, 'auto') == 'fp16'
    assert available_precision(folder, spec, 'auto') == 'fp32'
    assert 'no graphs in half precision' in caplog.text
    assert available_precision(halved, spec, 'fp32') == 'fp32'


def test_half_precision_that_is_not_there_is_not_replaced(prepare, folder):
    with pytest.raises(WeightsError, match='holds no image_encoder_fp16.onnx'):
        prepare('fp16', folder).plans()


def test_what_is_missing_is_named(monkeypatch):
    if importlib.util.find_spec('tensorrt') is None:
        with pytest.raises(EngineError, match='TensorRT is not installed.*docs/jetson.md'):
            load_tensorrt()
    import sys

    monkeypatch.setitem(sys.modules, 'tensorrt', type(sys)('tensorrt'))
    sys.modules['tensorrt'].__file__ = '/usr/lib/lean.py'
    with pytest.raises(EngineError, match='has no builder'):
        load_tensorrt()
