# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""CUDA: the device through pycuda, and CUDA graphs through the driver's C interface.

The device retains the primary context, the one that TensorRT and every other library use: a second
context would not see their memory. The context is current in the thread that opens the device and
in no other, and is released when the device is closed. pycuda is imported only then: its driver
module needs libcuda, which machines without an NVIDIA GPU lack.

pycuda (2026.1) does not wrap CUDA graphs. They use six functions of libcuda, with names and
arguments as in cuda.h of CUDA 11.4 and later.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.device import DeviceInfo, FreeMemory, Pinned

LIBRARY = 'libcuda.so.1'
# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: calls of other threads do not disturb the capture.
THREAD_LOCAL = 1


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
    return cuda  # type: ignore[no-any-return]


def probe(index: int = 0) -> DeviceInfo:
    """Describe a device without opening it: creates no context and allocates no memory.

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
    """Return the host's available memory, reclaimable page cache included; 0 if unknown."""
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
        """Release the memory. Calling it again does nothing."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class PycudaPinned:
    """Page-locked memory of the host."""

    def __init__(self, cuda: ModuleType, nbytes: int, mapped: bool) -> None:
        flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        self.array: NDArray[np.uint8] = cuda.pagelocked_empty(nbytes, np.uint8, mem_flags=flags)
        self._allocation: Any = self.array.base
        self.address = int(self._allocation.get_device_pointer()) if mapped else None

    def free(self) -> None:
        """Release the memory. Calling it again does nothing."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class PycudaEvent:
    """A position in the stream."""

    def __init__(self, cuda: ModuleType, stream: Any) -> None:
        self._event = cuda.Event(cuda.event_flags.DISABLE_TIMING)
        self._event.record(stream)

    def wait(self) -> None:
        """Block the host until everything queued before it is done."""
        self._event.synchronize()


class PycudaDevice:
    """One GPU, open in the calling thread."""

    def __init__(self, index: int = 0) -> None:
        """Retain the primary context and make it current.

        Raises:
            EngineError: see `load_driver`; or the GPU cannot be opened.
        """
        self._cuda = load_driver()
        device = self._cuda.Device(index)
        self.info = _info(self._cuda, device)
        try:
            self._context = device.retain_primary_context()
            self._context.push()
            try:
                self._stream = self._cuda.Stream()
            except BaseException:
                self._leave_context()
                raise
        except self._cuda.Error as error:
            raise EngineError(f'{self.info.name} cannot be opened: {error}') from error
        self.stream = int(self._stream.handle)

    def memory(self) -> FreeMemory:
        """Return free and total memory."""
        free, total = self._cuda.mem_get_info()
        # Where device and host share the memory, the driver does not count the page cache as
        # free, although the kernel gives it up on demand.
        return FreeMemory(available_bytes() or free if self.info.integrated else free, total)

    def allocate(self, nbytes: int) -> PycudaBlock:
        """Allocate device memory; EngineError where there is not enough."""
        try:
            return PycudaBlock(self._cuda.mem_alloc(nbytes), nbytes)
        except self._cuda.MemoryError as error:
            raise self._out_of_memory(nbytes) from error

    def allocate_pinned(self, nbytes: int, mapped: bool) -> PycudaPinned:
        """Allocate pinned memory; `mapped`: the device can address it as well."""
        try:
            return PycudaPinned(self._cuda, nbytes, mapped)
        except self._cuda.MemoryError as error:
            raise self._out_of_memory(nbytes) from error

    def _out_of_memory(self, nbytes: int) -> EngineError:
        free, total = (value / 1e6 for value in self.memory())
        return EngineError(
            f'{nbytes / 1e6:.0f} MB cannot be allocated on {self.info.name}: {free:.0f} of '
            f'{total:.0f} MB are free. Track fewer objects (max_objects), keep fewer images '
            '(prompt_history_seconds), or close other programs'
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
        """Return the current end of the stream."""
        return PycudaEvent(self._cuda, self._stream)

    def wait(self) -> None:
        """Block the host until the stream is empty."""
        self._stream.synchronize()

    def record(self, work: Callable[[], Any]) -> CudaGraph:
        """Record the operations that `work` puts into the stream, without running them."""
        return capture(self.stream, work)

    def close(self) -> None:
        """Pop the context and release it. Calling it again does nothing.

        A context that is still current when the process exits makes pycuda abort it.
        """
        if self._context is None:
            return
        try:
            self._stream.synchronize()
        finally:  # also after a fault of the device
            self._stream = None
            self._leave_context()

    def _leave_context(self) -> None:
        context, self._context = self._context, None
        context.pop()
        context.detach()


class CudaGraph:
    """Recorded work of a stream, ready to be launched into it."""

    def __init__(self, library: ctypes.CDLL, executable: ctypes.c_void_p, stream: int) -> None:
        self._library = library
        self._executable: ctypes.c_void_p | None = executable
        self._stream = ctypes.c_void_p(stream)

    def launch(self) -> None:
        """Put the work into the stream."""
        _call(self._library, 'cuGraphLaunch', self._executable, self._stream)

    def free(self) -> None:
        """Release the graph. Calling it again does nothing."""
        if self._executable is not None:
            _call(self._library, 'cuGraphExecDestroy', self._executable)
            self._executable = None


def capture(stream: int, work: Callable[[], Any], library: str = LIBRARY) -> CudaGraph:
    """Record the operations that `work` puts into a stream.

    Args:
        stream: handle of a stream other than the default one, of the current context.
        work: must neither wait for the device nor allocate.
        library: shared library of the driver.

    Raises:
        EngineError: the driver is too old, or it cannot record an operation of the work. The
            stream is usable again.
    """
    libcuda = _open(library)
    handle, graph = ctypes.c_void_p(stream), ctypes.c_void_p()
    executable = ctypes.c_void_p()
    _call(libcuda, 'cuStreamBeginCapture_v2', handle, ctypes.c_int(THREAD_LOCAL))
    try:
        try:
            work()
        finally:
            # Also after an error, or the stream would remain in capture mode.
            status = libcuda.cuStreamEndCapture(handle, ctypes.byref(graph))
        _raise_for('cuStreamEndCapture', status)
        _call(
            libcuda,
            'cuGraphInstantiateWithFlags',
            ctypes.byref(executable),
            graph,
            ctypes.c_ulonglong(0),
        )
    finally:
        if graph:
            libcuda.cuGraphDestroy(graph)
    return CudaGraph(libcuda, executable, stream)


def _open(library: str) -> ctypes.CDLL:
    try:
        libcuda = ctypes.CDLL(library)
        libcuda.cuGraphInstantiateWithFlags  # noqa: B018 - the newest of the six, of CUDA 11.4
    except (OSError, AttributeError) as error:
        raise EngineError(
            f'CUDA graphs need a driver of CUDA 11.4 or later ({error}); turn cuda_graphs off'
        ) from error
    return libcuda


def _call(libcuda: ctypes.CDLL, name: str, *arguments: Any) -> None:
    _raise_for(name, getattr(libcuda, name)(*arguments))


def _raise_for(name: str, status: int) -> None:
    if status:
        raise EngineError(f'{name} failed with CUDA error {status}')
