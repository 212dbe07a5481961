# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""CUDA with a fake pycuda and a fake driver library, which record the calls."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt import cuda as cuda_module
from tam_ros.tensorrt.cuda import PycudaDevice, available_bytes, capture, load_driver, probe


class Driver(ModuleType):
    """pycuda.driver with one GPU."""

    class Error(Exception):
        pass

    class MemoryError(Error):  # noqa: A001 - pycuda's own name
        pass

    def __init__(self, gpus: int = 1, integrated: int = 1, room: int = 1 << 30) -> None:
        super().__init__('pycuda.driver')
        self.calls: list[tuple] = []
        self.room, self.integrated = room, integrated
        driver = self

        class Device:
            def __init__(self, index: int) -> None:
                self.index = index

            @staticmethod
            def count() -> int:
                return gpus

            def name(self) -> str:
                return 'Orin'

            def compute_capability(self) -> tuple[int, int]:
                return 8, 7

            def get_attribute(self, attribute: str) -> int:
                return {'sms': 8, 'integrated': driver.integrated}[attribute]

            def retain_primary_context(self) -> SimpleNamespace:
                driver.calls.append(('retain',))
                return SimpleNamespace(
                    **{
                        name: lambda name=name: driver.calls.append((name,))
                        for name in ('push', 'pop', 'detach')
                    }
                )

        class Stream:
            handle = 77

            def synchronize(self) -> None:
                driver.calls.append(('synchronize',))

        class Event:
            def __init__(self, flags: int) -> None:
                self.flags = flags

            def record(self, stream: Stream) -> None:
                driver.calls.append(('record', self.flags))

            def synchronize(self) -> None:
                driver.calls.append(('event',))

        self.Device, self.Stream, self.Event = Device, Stream, Event
        self.device_attribute = SimpleNamespace(
            MULTIPROCESSOR_COUNT='sms', INTEGRATED='integrated'
        )
        self.host_alloc_flags = SimpleNamespace(DEVICEMAP=2)
        self.event_flags = SimpleNamespace(DISABLE_TIMING=4)

    def init(self) -> None:
        self.calls.append(('init',))

    def get_driver_version(self) -> int:
        return 12060

    def mem_get_info(self) -> tuple[int, int]:
        return self.room, 1 << 33

    def mem_alloc(self, nbytes: int):
        if nbytes > self.room:
            raise self.MemoryError('cuMemAlloc failed: out of memory')
        calls = self.calls

        class Allocation:
            def __int__(self) -> int:
                return 4096

            def free(self) -> None:
                calls.append(('free', nbytes))

        return Allocation()

    def pagelocked_empty(self, nbytes: int, dtype: type, mem_flags: int):
        self.calls.append(('pinned', nbytes, mem_flags))
        base = SimpleNamespace(
            get_device_pointer=lambda: 8192, free=lambda: self.calls.append(('unpin', nbytes))
        )
        return SimpleNamespace(base=base)

    def __getattr__(self, name: str):
        if name.startswith('mem'):
            return lambda *arguments: self.calls.append((name, *arguments[:-1]))
        raise AttributeError(name)


@pytest.fixture
def driver(monkeypatch):
    def install(**options) -> Driver:
        made = Driver(**options)
        package = ModuleType('pycuda')
        package.driver = made
        monkeypatch.setitem(sys.modules, 'pycuda', package)
        monkeypatch.setitem(sys.modules, 'pycuda.driver', made)
        return made

    return install


def test_the_primary_context_is_current_while_the_device_is_open_and_popped_once(driver):
    cuda = driver()
    device = PycudaDevice()
    assert cuda.calls == [('init',), ('retain',), ('push',)]
    assert device.stream == 77
    cuda.calls.clear()
    device.close()
    device.close()
    assert cuda.calls == [('synchronize',), ('pop',), ('detach',)]


def test_the_context_is_popped_after_a_fault_of_the_device(driver, monkeypatch):
    cuda = driver()

    def fault(*_):
        raise cuda.Error('an illegal memory access')

    monkeypatch.setattr(cuda.Stream, 'synchronize', fault)
    device = PycudaDevice()
    with pytest.raises(cuda.Error, match='illegal'):
        device.close()
    assert cuda.calls[-2:] == [('pop',), ('detach',)]
    monkeypatch.setattr(cuda, 'Stream', fault)
    with pytest.raises(EngineError, match='Orin cannot be opened: an illegal'):
        PycudaDevice()
    assert cuda.calls[-3:] == [('push',), ('pop',), ('detach',)]


def test_a_probe_creates_no_context(driver):
    cuda = driver()
    info = probe()
    assert cuda.calls == [('init',)]
    assert (
        info.name,
        info.compute_capability,
        info.multiprocessors,
        info.integrated,
        info.driver,
    ) == ('Orin', '8.7', 8, True, '12.6')


def test_memory_is_released_once(driver):
    cuda = driver()
    device = PycudaDevice()
    block = device.allocate(512)
    assert (block.address, block.nbytes) == (4096, 512)
    block.free()
    block.free()
    assert cuda.calls.count(('free', 512)) == 1
    pinned = device.allocate_pinned(256, mapped=True)
    assert pinned.address == 8192 and ('pinned', 256, 2) in cuda.calls
    assert device.allocate_pinned(128, mapped=False).address is None
    assert ('pinned', 128, 0) in cuda.calls
    pinned.free()
    pinned.free()
    assert cuda.calls.count(('unpin', 256)) == 1


def test_operations_use_the_stream(driver):
    cuda = driver()
    device = PycudaDevice()
    cuda.calls.clear()
    device.copy(1, 2, 3)
    device.clear(4, 5)
    device.mark().wait()
    device.wait()
    assert cuda.calls == [
        ('memcpy_dtod_async', 1, 2, 3),
        ('memset_d8_async', 4, 0, 5),
        ('record', 4),
        ('event',),
        ('synchronize',),
    ]


def test_too_little_memory_is_reported_with_advice(driver):
    driver(room=100_000_000, integrated=0)
    device = PycudaDevice()
    with pytest.raises(
        EngineError, match='200 MB cannot be allocated on .*: 100 of 8590 MB are free.*max_objects'
    ):
        device.allocate(200_000_000)


def test_free_memory_shared_with_the_host_includes_the_page_cache(driver, tmp_path, monkeypatch):
    file = tmp_path / 'meminfo'
    file.write_text('MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    4096 kB\n')
    assert available_bytes(file) == 4096 * 1024
    assert available_bytes(tmp_path / 'absent') == 0
    monkeypatch.setattr(cuda_module, 'available_bytes', lambda: 555)
    driver()
    assert PycudaDevice().memory().free == 555
    driver(integrated=0, room=123)
    assert PycudaDevice().memory().free == 123


def test_a_missing_gpu_driver_or_library_is_named(driver, monkeypatch):
    driver(gpus=0)
    with pytest.raises(EngineError, match='finds no GPU'):
        load_driver()
    broken = driver()
    broken.init = lambda: (_ for _ in ()).throw(broken.Error('no driver'))
    with pytest.raises(EngineError, match='does not start: no driver'):
        load_driver()
    monkeypatch.setitem(sys.modules, 'pycuda', None)
    monkeypatch.delitem(sys.modules, 'pycuda.driver')
    with pytest.raises(EngineError, match='pycuda is not installed'):
        load_driver()


# --- CUDA graphs ---

CODE = r"""
#include <stdio.h>
#include <stdlib.h>
static int called(const char *name, void *a, void *b) {
  const char *fails = getenv("FAKE_CUDA_FAILS");
  FILE *file = fopen(getenv("FAKE_CUDA_LOG"), "a");
  fprintf(file, "%s %ld %ld\n", name, (long)a, (long)b);
  fclose(file);
  const char *p = name, *q = fails ? fails : "";
  while (*p && *p == *q) { p++; q++; }
  return *p == *q ? 901 : 0;
}
int cuStreamBeginCapture_v2(void *stream, int mode) {
  return called("begin", stream, (void *)(long)mode); }
int cuStreamEndCapture(void *stream, void **graph) {
  int status = called("end", stream, 0); *graph = status ? 0 : (void *)5; return status; }
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) {
  *exec = (void *)6; return called("instantiate", graph, (void *)flags); }
int cuGraphDestroy(void *graph) { return called("destroy", graph, 0); }
int cuGraphExecDestroy(void *exec) { return called("free", exec, 0); }
int cuGraphLaunch(void *exec, void *stream) { return called("launch", exec, stream); }
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


def test_work_is_recorded_once_and_launched_repeatedly(library, log):
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
def test_errors_of_the_driver_are_reported(library, log, monkeypatch, call, name, last):
    monkeypatch.setenv('FAKE_CUDA_FAILS', call)
    with pytest.raises(EngineError, match=f'{name} failed with CUDA error 901'):
        capture(77, lambda: None, str(library))
    assert log()[-1].startswith(last)


def test_an_old_or_missing_driver_is_reported(library):
    with pytest.raises(EngineError, match='driver of CUDA 11.4 or later.*cuda_graphs off'):
        capture(77, lambda: None, 'libno_such_cuda.so.1')
    with pytest.raises(EngineError, match='11.4'):
        capture(77, lambda: None, 'libm.so.6')
