# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The device that engines run on, as a protocol: memory, copies, one stream, and waiting for it.

Every operation is put into the device's only stream and runs later, in order. Memory that nothing
refers to any more may therefore be overwritten at once: everything that reads it was queued
before. Only the host has to wait: before it writes pinned memory that a queued copy still reads,
and before it reads the target of a queued copy. A device may only be used in the thread that
opened it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 256  # bytes; of every address that TensorRT is given


@dataclass(frozen=True)
class DeviceInfo:
    """Description of a device.

    Attributes:
        name: the vendor's.
        compute_capability: such as `8.7`.
        multiprocessors: number of them; Orin Nano, NX and AGX share one compute capability and
            differ in this.
        integrated: device and host share one memory.
        driver: CUDA version of the driver, such as `12.6`.
    """

    name: str
    compute_capability: str
    multiprocessors: int
    integrated: bool
    driver: str


class FreeMemory(NamedTuple):
    """Memory of a device, bytes."""

    free: int
    total: int


class Block(Protocol):
    """Memory of the device; its address is a multiple of `ALIGNMENT`."""

    address: int
    nbytes: int

    def free(self) -> None:
        """Release the memory. Calling it again does nothing."""


class Pinned(Protocol):
    """Page-locked memory of the host, for copies that run while the host does something else.

    Attributes:
        array: the memory, uint8 [nbytes].
        address: address of the memory on the device if it was mapped; otherwise None.
    """

    array: NDArray[np.uint8]
    address: int | None

    def free(self) -> None:
        """Release the memory; `array` is invalid then. Calling it again does nothing."""


class Event(Protocol):
    """A position in the stream."""

    def wait(self) -> None:
        """Block the host until everything queued before it is done."""


class Recording(Protocol):
    """Recorded work that is launched as one (a CUDA graph)."""

    def launch(self) -> None:
        """Put the work into the stream."""

    def free(self) -> None:
        """Release the recording. Calling it again does nothing."""


class Device(Protocol):
    """A device with one stream.

    Attributes:
        info: description of the device.
        stream: handle of the stream, for libraries that put work into it.
    """

    info: DeviceInfo
    stream: int

    def memory(self) -> FreeMemory:
        """Return free and total memory; memory used by other processes is not free."""

    def allocate(self, nbytes: int) -> Block:
        """Allocate device memory; EngineError where there is not enough."""

    def allocate_pinned(self, nbytes: int, mapped: bool) -> Pinned:
        """Allocate pinned memory; `mapped`: the device can address it as well."""

    def upload(self, address: int, pinned: Pinned, nbytes: int) -> None:
        """Copy the first bytes of pinned memory to the device."""

    def download(self, pinned: Pinned, address: int, nbytes: int) -> None:
        """Copy from the device into the first bytes of pinned memory."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""

    def clear(self, address: int, nbytes: int) -> None:
        """Set device memory to zero."""

    def mark(self) -> Event:
        """Return the current end of the stream."""

    def wait(self) -> None:
        """Block the host until the stream is empty."""

    def record(self, work: Callable[[], Any]) -> Recording:
        """Record the operations that `work` puts into the stream, without running them.

        Raises:
            EngineError: the device or its driver cannot record.
        """

    def close(self) -> None:
        """Release the device, after everything allocated on it. Calling it again does nothing."""
