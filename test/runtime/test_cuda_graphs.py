# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs through the C interface, against a library that writes down its calls."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.cuda_graphs import capture

CODE = r"""
#include <stdio.h>
#include <stdlib.h>
static int say(const char *name, void *a, void *b) {
  const char *fails = getenv("FAKE_CUDA_FAILS");
  FILE *file = fopen(getenv("FAKE_CUDA_LOG"), "a");
  fprintf(file, "%s %ld %ld\n", name, (long)a, (long)b);
  fclose(file);
  const char *p = name, *q = fails ? fails : "";
  while (*p && *p == *q) { p++; q++; }
  return *p == *q ? 901 : 0;
}
int cuStreamBeginCapture_v2(void *stream, int mode) {
  return say("begin", stream, (void *)(long)mode); }
int cuStreamEndCapture(void *stream, void **graph) {
  int status = say("end", stream, 0); *graph = status ? 0 : (void *)5; return status; }
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) {
  *exec = (void *)6; return say("instantiate", graph, (void *)flags); }
int cuGraphDestroy(void *graph) { return say("destroy", graph, 0); }
int cuGraphExecDestroy(void *exec) { return say("free", exec, 0); }
int cuGraphLaunch(void *exec, void *stream) { return say("launch", exec, stream); }
"""


@pytest.fixture(scope='module')
def library(tmp_path_factory) -> Path:
    compiler = shutil.which('gcc') or shutil.which('cc')
    if compiler is None:
        pytest.skip('no C compiler')
    path = tmp_path_factory.mktemp('cuda') / 'libcuda.so'
    subprocess.run(
        [compiler, '-x', 'c', '-shared', '-fPIC', '-w', '-', '-o', str(path)],
        input=CODE,
        text=True,
        check=True,
    )
    return path


@pytest.fixture
def log(tmp_path, monkeypatch):
    path = tmp_path / 'log'
    monkeypatch.setenv('FAKE_CUDA_LOG', str(path))
    return lambda: path.read_text().splitlines()


def test_work_is_recorded_once_and_launched_often(library, log):
    done = []
    graph = capture(77, lambda: done.append(1), str(library))
    assert done == [1]
    assert log() == ['begin 77 1', 'end 77 0', 'instantiate 5 0', 'destroy 5 0']
    graph.launch()
    graph.launch()
    graph.free()
    graph.free()
    assert log()[4:] == ['launch 6 77', 'launch 6 77', 'free 6 0']


def test_a_recording_is_ended_when_the_work_fails(library, log):
    def fail():
        raise RuntimeError('broken')

    with pytest.raises(RuntimeError, match='broken'):
        capture(77, fail, str(library))
    assert log() == ['begin 77 1', 'end 77 0', 'destroy 5 0']


@pytest.mark.parametrize(
    ('call', 'name', 'last'),
    [
        ('begin', 'cuStreamBeginCapture_v2', 'begin'),
        ('end', 'cuStreamEndCapture', 'end'),
        ('instantiate', 'cuGraphInstantiateWithFlags', 'destroy'),
    ],
)
def test_what_the_driver_refuses_is_said(library, log, monkeypatch, call, name, last):
    monkeypatch.setenv('FAKE_CUDA_FAILS', call)
    with pytest.raises(EngineError, match=f'{name} failed with CUDA error 901'):
        capture(77, lambda: None, str(library))
    assert log()[-1].startswith(last)


def test_a_driver_that_is_too_old_or_absent(library):
    with pytest.raises(EngineError, match='driver of CUDA 11.4 or later.*cuda_graphs off'):
        capture(77, lambda: None, 'libno_such_cuda.so.1')
    with pytest.raises(EngineError, match='11.4'):
        capture(77, lambda: None, 'libm.so.6')
