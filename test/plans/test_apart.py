# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Builds in a process of their own: they end in every way that a build can end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from tam_ros.model_files import graph_file
from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt import golden
from tam_ros.tensorrt.build_process import build_apart
from tam_ros.tensorrt.failures import BuildCancelledError, OutOfMemoryError
from tam_ros.tensorrt.worker import Request


@pytest.fixture
def request_for(folder, tmp_path):
    def make(**changes) -> Request:
        values = {
            'graph': 'memory_encoder',
            'plan': str(tmp_path / 'plan'),
            'objects': 2,
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


def test_a_plan_is_built_and_checked(request_for, cache, folder, spec, tmp_path):
    reference = golden.kept_references(cache, folder, spec)
    said = []
    result = build_apart(request_for(golden=str(reference)), lambda *x: said.append(x), never)
    assert result.good and result.check.startswith('cosine 1.00000 (memory)')
    assert result.workspace_mb == 8000 - 512, 'what the device has free, less the margin'
    assert (tmp_path / 'plan').read_bytes().startswith(b'fake plan')
    assert (tmp_path / 'timings').read_bytes() == b'timings'
    assert said[-1] == ('comparing with the reference', 1.0)


def test_the_worker_ends_quietly(request_for):
    done = subprocess.run(
        [sys.executable, '-m', 'tam_ros.tensorrt.worker'],
        text=True,
        capture_output=True,
        input=json.dumps(asdict(request_for())) + '\n',
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    # Nobody holds its standard input open: it is cancelled, which is an answer as well.
    assert (done.returncode, done.stderr) == (0, '')
    assert json.loads(done.stdout.splitlines()[-1])['result']['kind'] == 'cancelled'


def test_a_wrong_plan_is_told_from_a_right_one(request_for, cache, folder, spec, tmp_path):
    """The reference is that of other weights: one number of the graph is changed."""
    onnx = pytest.importorskip('onnx')
    model = onnx.load(graph_file(folder, 'memory_encoder', 'fp32'))
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(array[::-1].copy(), weight.name))
    onnx.save(model, tmp_path / 'wrong.onnx')
    result = build_apart(
        request_for(
            onnx=str(tmp_path / 'wrong.onnx'),
            golden=str(golden.kept_references(cache, folder, spec)),
        ),
        lambda *_: None,
        never,
    )
    assert not result.good


def test_a_killed_builder_is_out_of_memory(request_for):
    with pytest.raises(OutOfMemoryError, match='the kernel killed the builder.*swap'):
        build_apart(request_for(tensorrt='fakes.killed'), lambda *_: None, never)


def test_an_uncaught_bad_alloc_is_out_of_memory(request_for):
    with pytest.raises(OutOfMemoryError, match='bad_alloc'):
        build_apart(request_for(tensorrt='fakes.thrown'), lambda *_: None, never)


def test_a_builder_that_cannot_start_says_why(request_for):
    with pytest.raises(EngineError, match='status 1: ModuleNotFoundError.*no_such_tensorrt'):
        build_apart(request_for(tensorrt='no_such_tensorrt'), lambda *_: None, never)


def test_what_cannot_be_read_is_an_error_of_the_build(request_for):
    with pytest.raises(EngineError, match='nowhere.onnx'):
        build_apart(request_for(onnx='/nowhere.onnx'), lambda *_: None, never)


def test_cancelling_ends_the_process(request_for):
    said = []
    began = time.monotonic()
    with pytest.raises(BuildCancelledError, match='memory_encoder was cancelled'):
        build_apart(
            request_for(tensorrt='fakes.slow'), lambda *x: said.append(x), lambda: len(said) >= 2
        )
    assert time.monotonic() - began < 15


def test_an_interruption_leaves_nothing_behind(request_for, monkeypatch):
    from tam_ros.tensorrt import build_process as apart

    started = []
    popen = apart.subprocess.Popen
    monkeypatch.setattr(
        apart.subprocess, 'Popen', lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )

    def interrupt(*_):
        # Ctrl-C goes to every process of a terminal's session; the builder is stopped by us.
        assert os.getsid(started[0].pid) != os.getsid(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_apart(request_for(tensorrt='fakes.slow'), interrupt, never)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].pid, 0)


@pytest.mark.slow
def test_a_real_builder_is_run_and_cancelled(request_for, tmp_path):
    pytest.importorskip('tensorrt_rtx_libs', reason='TensorRT for RTX is not installed')
    request = request_for(tensorrt='fakes.rtx', device=None, workspace_mb=900)
    said = []
    assert build_apart(request, lambda *x: said.append(x), never).kind == 'built'
    assert (tmp_path / 'plan').stat().st_size > 1_000_000 and said
    said.clear()
    with pytest.raises(BuildCancelledError):
        build_apart(request, lambda *x: said.append(x), lambda: bool(said))
