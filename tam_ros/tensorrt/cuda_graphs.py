# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs through the driver's C interface, which pycuda does not wrap (2026.1).

Six functions of libcuda, names and arguments as in cuda.h of CUDA 11.4 and later.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from tam_ros.runtime.base import EngineError

LIBRARY = 'libcuda.so.1'
# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do in the meantime is their business.
THREAD_LOCAL = 1


class CudaGraph:
    """What was recorded of a stream, ready to be launched into it."""

    def __init__(self, library: ctypes.CDLL, executable: ctypes.c_void_p, stream: int) -> None:
        self._library = library
        self._executable: ctypes.c_void_p | None = executable
        self._stream = ctypes.c_void_p(stream)

    def launch(self) -> None:
        """Put it into the stream."""
        _check(self._library, 'cuGraphLaunch', self._executable, self._stream)

    def free(self) -> None:
        """Give it back; twice is once."""
        if self._executable is not None:
            _check(self._library, 'cuGraphExecDestroy', self._executable)
            self._executable = None


def capture(stream: int, work: Callable[[], Any], library: str = LIBRARY) -> CudaGraph:
    """Record what `work` puts into a stream.

    Args:
        stream: handle of a stream other than the default one, of the present context.
        work: must not wait for the device, nor allocate.
        library: of the driver.

    Raises:
        EngineError: the driver is too old, or something in the work cannot be recorded. The stream
            is usable again.
    """
    cuda = _open(library)
    handle, graph = ctypes.c_void_p(stream), ctypes.c_void_p()
    executable = ctypes.c_void_p()
    _check(cuda, 'cuStreamBeginCapture_v2', handle, ctypes.c_int(THREAD_LOCAL))
    try:
        try:
            work()
        finally:
            # Ends also what went wrong, or the stream would stay in its recording for good.
            status = cuda.cuStreamEndCapture(handle, ctypes.byref(graph))
        _judge('cuStreamEndCapture', status)
        _check(
            cuda,
            'cuGraphInstantiateWithFlags',
            ctypes.byref(executable),
            graph,
            ctypes.c_ulonglong(0),
        )
    finally:
        if graph:
            cuda.cuGraphDestroy(graph)
    return CudaGraph(cuda, executable, stream)


def _open(library: str) -> ctypes.CDLL:
    try:
        cuda = ctypes.CDLL(library)
        cuda.cuGraphInstantiateWithFlags  # noqa: B018 - the newest of them, of CUDA 11.4
    except (OSError, AttributeError) as error:
        raise EngineError(
            f'CUDA graphs need a driver of CUDA 11.4 or later ({error}); turn cuda_graphs off'
        ) from error
    return cuda


def _check(cuda: ctypes.CDLL, name: str, *arguments: Any) -> None:
    _judge(name, getattr(cuda, name)(*arguments))


def _judge(name: str, status: int) -> None:
    if status:
        raise EngineError(f'{name} failed with CUDA error {status}')
