# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A CUDA device through pycuda.

The primary context is retained, the one that TensorRT and every other library use: a second
context of our own would not know their memory. It is current in the thread that opens the device
and in no other, and is given back when the device is closed. pycuda is imported only then: its
driver module needs libcuda, which machines without an NVIDIA GPU lack.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.cuda_graphs import CudaGraph, capture
from tam_ros.tensorrt.device import DeviceInfo, FreeMemory, Pinned


def load_driver() -> ModuleType:
    """Import pycuda and initialise the driver.

    Raises:
        EngineError: pycuda, the driver or a GPU is missing; says which.
    """
    try:
        import pycuda.driver as cuda
    except ModuleNotFoundError as error:
        raise EngineError('pycuda is not installed: see docs/jetson.md') from error
    except ImportError as error:
        raise EngineError(
            f'pycuda cannot use the NVIDIA driver ({error}): is this a machine with an NVIDIA GPU?'
        ) from error
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        raise EngineError(f'the NVIDIA driver does not start: {error}') from error
    if not count:
        raise EngineError('the NVIDIA driver finds no GPU')
    return cuda


def probe(index: int = 0) -> DeviceInfo:
    """Say what a device is without taking it: no context is made, no memory used.

    Raises:
        EngineError: see `load_driver`.
    """
    cuda = load_driver()
    return _info(cuda, cuda.Device(index))


def _info(cuda: ModuleType, device: Any) -> DeviceInfo:
    attribute = cuda.device_attribute
    version = cuda.get_driver_version()  # 12060 for 12.6
    return DeviceInfo(
        name=device.name(),
        compute_capability='.'.join(map(str, device.compute_capability())),
        multiprocessors=device.get_attribute(attribute.MULTIPROCESSOR_COUNT),
        integrated=bool(device.get_attribute(attribute.INTEGRATED)),
        driver=f'{version // 1000}.{version % 1000 // 10}',
    )


def available_bytes(file: Path = Path('/proc/meminfo')) -> int:
    """Return the memory of the host that is to be had, page cache included; 0 if nobody says."""
    try:
        found = re.search(r'^MemAvailable:\s+(\d+) kB', file.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


class PycudaBlock:
    """Memory of the device."""

    def __init__(self, allocation: Any, nbytes: int) -> None:
        self._allocation = allocation
        self.address = int(allocation)
        self.nbytes = nbytes

    def free(self) -> None:
        """Give it back; twice is once."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class PycudaPinned:
    """Pinned memory of the host."""

    def __init__(self, cuda: ModuleType, nbytes: int, mapped: bool) -> None:
        flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        self.array = cuda.pagelocked_empty(nbytes, np.uint8, mem_flags=flags)
        self._allocation = self.array.base
        self.address = int(self._allocation.get_device_pointer()) if mapped else None

    def free(self) -> None:
        """Give it back; twice is once."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class PycudaEvent:
    """A place in the stream."""

    def __init__(self, cuda: ModuleType, stream: Any) -> None:
        self._event = cuda.Event(cuda.event_flags.DISABLE_TIMING)
        self._event.record(stream)

    def wait(self) -> None:
        """Let the host wait until everything before it is done."""
        self._event.synchronize()


class PycudaDevice:
    """One GPU, open in the present thread."""

    def __init__(self, index: int = 0) -> None:
        """Retain the primary context and make it current.

        Raises:
            EngineError: see `load_driver`; or the GPU refuses.
        """
        self._cuda = load_driver()
        device = self._cuda.Device(index)
        self.info = _info(self._cuda, device)
        try:
            self._context = device.retain_primary_context()
            self._context.push()
        except self._cuda.Error as error:
            raise EngineError(f'{self.info.name} cannot be opened: {error}') from error
        self._stream = self._cuda.Stream()
        self.stream = int(self._stream.handle)

    def memory(self) -> FreeMemory:
        """Return how much there is."""
        free, total = self._cuda.mem_get_info()
        # Where the memory is the host's the driver leaves out what the kernel would give back.
        return FreeMemory(available_bytes() or free if self.info.integrated else free, total)

    def allocate(self, nbytes: int) -> PycudaBlock:
        """Allocate device memory; EngineError where there is not enough."""
        try:
            return PycudaBlock(self._cuda.mem_alloc(nbytes), nbytes)
        except self._cuda.MemoryError as error:
            raise self._out_of_memory(nbytes) from error

    def allocate_pinned(self, nbytes: int, mapped: bool) -> PycudaPinned:
        """Allocate pinned memory; `mapped`: the device shall see it, too."""
        try:
            return PycudaPinned(self._cuda, nbytes, mapped)
        except self._cuda.MemoryError as error:
            raise self._out_of_memory(nbytes) from error

    def _out_of_memory(self, nbytes: int) -> EngineError:
        free, total = (value / 1e6 for value in self.memory())
        return EngineError(
            f'{self.info.name} has no {nbytes / 1e6:.0f} MB left: {free:.0f} of {total:.0f} MB '
            'are free. Follow fewer objects (max_objects), keep fewer images (prompt_history_seconds), or '
            'close other programs'
        )

    def upload(self, address: int, pinned: Pinned, nbytes: int) -> None:
        """Copy the first bytes of pinned memory to the device."""
        self._cuda.memcpy_htod_async(address, pinned.array[:nbytes], self._stream)

    def download(self, pinned: Pinned, address: int, nbytes: int) -> None:
        """Copy from the device into the first bytes of pinned memory."""
        self._cuda.memcpy_dtoh_async(pinned.array[:nbytes], address, self._stream)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""
        self._cuda.memcpy_dtod_async(target, source, nbytes, self._stream)

    def clear(self, address: int, nbytes: int) -> None:
        """Set device memory to zero."""
        self._cuda.memset_d8_async(address, 0, nbytes, self._stream)

    def mark(self) -> PycudaEvent:
        """Return the place the stream has come to."""
        return PycudaEvent(self._cuda, self._stream)

    def wait(self) -> None:
        """Let the host wait until everything is done."""
        self._stream.synchronize()

    def record(self, work: Callable[[], Any]) -> CudaGraph:
        """Record what `work` puts into the stream instead of doing it."""
        return capture(self.stream, work)

    def close(self) -> None:
        """Give the device back. Twice is once."""
        if self._context is None:
            return
        self._stream.synchronize()
        self._stream = None
        self._context.pop()
        self._context.detach()
        self._context = None
