# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The device through pycuda, against a pycuda that writes down what is asked of it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt import cuda as pycuda_device
from tam_ros.tensorrt.cuda import PycudaDevice, available_bytes, load_driver, probe


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


def test_the_primary_context_is_current_while_it_is_open_and_given_back_once(driver):
    cuda = driver()
    device = PycudaDevice()
    assert cuda.calls == [('init',), ('retain',), ('push',)]
    assert device.stream == 77
    cuda.calls.clear()
    device.close()
    device.close()
    assert cuda.calls == [('synchronize',), ('pop',), ('detach',)]


def test_a_probe_takes_nothing(driver):
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


def test_memory_is_given_back_once(driver):
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


def test_work_goes_into_the_stream(driver):
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


def test_no_room_says_how_much_and_what_to_do(driver):
    driver(room=100_000_000, integrated=0)
    device = PycudaDevice()
    with pytest.raises(EngineError, match='no 200 MB left: 100 of 8590 MB are free.*max_objects'):
        device.allocate(200_000_000)


def test_free_memory_of_a_shared_one_counts_what_the_kernel_would_give_back(
    driver, tmp_path, monkeypatch
):
    file = tmp_path / 'meminfo'
    file.write_text('MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    4096 kB\n')
    assert available_bytes(file) == 4096 * 1024
    assert available_bytes(tmp_path / 'absent') == 0
    monkeypatch.setattr(pycuda_device, 'available_bytes', lambda: 555)
    driver()
    assert PycudaDevice().memory().free == 555
    driver(integrated=0, room=123)
    assert PycudaDevice().memory().free == 123


def test_what_is_missing_is_named(driver, monkeypatch):
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
