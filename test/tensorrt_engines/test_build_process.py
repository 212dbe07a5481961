# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Builds in a process of their own, with every way in which one can end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import onnx
import pytest

from tam_ros.graph_files import graph_file
from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt import build_process
from tam_ros.tensorrt.build_process import Request, build_in_process
from tam_ros.tensorrt.builder import BuildCancelledError, OutOfMemoryError
from tam_ros.tensorrt.golden import cached_references


@pytest.fixture
def request_for(folder, tmp_path):
    def make(**changes) -> Request:
        values = {
            'graph': 'memory_encoder',
            'plan': str(tmp_path / 'plan'),
            'max_batch': 2,
            'onnx': str(graph_file(folder, 'memory_encoder', 'fp32')),
            'workspace_mb': None,
            'golden': None,
            'timings': str(tmp_path / 'timings'),
            'tensorrt': 'fakes.trt',
            'device': 'fakes.device:FakeDevice',
        }
        return Request(**values | changes)

    return make


def never():
    return False


def test_an_engine_is_built_and_checked(request_for, cache, folder, spec, tmp_path):
    reference = cached_references(cache, folder, spec)
    reports = []
    result = build_in_process(
        request_for(golden=str(reference)), lambda *report: reports.append(report), never
    )
    assert result.good and result.check.startswith('cosine 1.00000 (memory)')
    assert result.workspace_mb == 8000 - 512, 'free memory less the margin'
    assert (tmp_path / 'plan').read_bytes().startswith(b'fake plan')
    assert (tmp_path / 'timings').read_bytes() == b'timings'
    assert reports[-1] == ('comparing with the reference', 1.0)


def test_the_process_ends_without_errors(request_for):
    done = subprocess.run(
        [sys.executable, '-m', 'tam_ros.tensorrt.build_process'],
        text=True,
        capture_output=True,
        input=json.dumps(asdict(request_for())) + '\n',
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    # Its standard input is closed, which cancels the build.
    assert (done.returncode, done.stderr) == (0, '')
    assert json.loads(done.stdout.splitlines()[-1])['result']['kind'] == 'cancelled'


def test_an_engine_with_wrong_outputs_is_detected(request_for, cache, folder, spec, tmp_path):
    """One weight of the graph is reversed; the reference is of the unchanged graph."""
    model = onnx.load(graph_file(folder, 'memory_encoder', 'fp32'))
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(array[::-1].copy(), weight.name))
    onnx.save(model, tmp_path / 'wrong.onnx')
    result = build_in_process(
        request_for(
            onnx=str(tmp_path / 'wrong.onnx'),
            golden=str(cached_references(cache, folder, spec)),
        ),
        lambda *_: None,
        never,
    )
    assert not result.good


def test_a_killed_builder_is_out_of_memory(request_for):
    with pytest.raises(OutOfMemoryError, match='the builder was killed.*swap'):
        build_in_process(request_for(tensorrt='fakes.killed'), lambda *_: None, never)


def test_an_uncaught_bad_alloc_is_out_of_memory(request_for):
    with pytest.raises(OutOfMemoryError, match='bad_alloc'):
        build_in_process(request_for(tensorrt='fakes.bad_alloc'), lambda *_: None, never)


def test_a_builder_that_cannot_start_says_why(request_for):
    with pytest.raises(EngineError, match='status 1: ModuleNotFoundError.*no_such_tensorrt'):
        build_in_process(request_for(tensorrt='no_such_tensorrt'), lambda *_: None, never)


def test_an_unreadable_graph_is_reported(request_for):
    with pytest.raises(EngineError, match='nowhere.onnx'):
        build_in_process(request_for(onnx='/nowhere.onnx'), lambda *_: None, never)


@pytest.fixture
def processes(monkeypatch):
    """The processes that are started."""
    started = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(build_process.subprocess, 'Popen', start)
    return started


def test_a_cancelled_process_ends_by_itself(request_for, processes):
    reports = []
    with pytest.raises(BuildCancelledError, match='memory_encoder was cancelled'):
        build_in_process(
            request_for(tensorrt='fakes.slow'),
            lambda *report: reports.append(report),
            lambda: len(reports) >= 2,
        )
    assert [process.returncode for process in processes] == [0], 'it was not killed'


def test_an_interruption_leaves_no_process_behind(request_for, processes):
    def interrupt(*_):
        # Ctrl-C reaches every process of a terminal's session; the builder must not get it.
        assert os.getsid(processes[0].pid) != os.getsid(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_in_process(request_for(tensorrt='fakes.slow'), interrupt, never)
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0].pid, 0)


@pytest.mark.slow
def test_a_real_builder_is_run_and_cancelled(request_for, tmp_path):
    pytest.importorskip('tensorrt_rtx_libs', reason='TensorRT for RTX is not installed')
    request = request_for(tensorrt='fakes.rtx', device=None, workspace_mb=900)
    reports = []
    assert build_in_process(request, lambda *report: reports.append(report), never).kind == 'built'
    assert (tmp_path / 'plan').stat().st_size > 1_000_000 and reports
    reports.clear()
    with pytest.raises(BuildCancelledError):
        build_in_process(request, lambda *report: reports.append(report), lambda: bool(reports))
