# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the engines need of a device: memory, copies, one stream, and waiting for it.

All that is asked of a device goes into its one stream and happens later, in order. So memory that
nobody refers to any more may be written anew at once: whatever reads it was asked for before. Only
the host has to wait: before it writes pinned memory that a copy still reads, and before it reads
what a copy is to bring. A device belongs to the thread that opened it.
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
    """What a device is.

    Attributes:
        name: of the vendor.
        compute_capability: such as `8.7`.
        multiprocessors: Orin Nano, NX and AGX have one compute capability and differ in these.
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
    """Memory of the device, its address a multiple of `ALIGNMENT`."""

    address: int
    nbytes: int

    def free(self) -> None:
        """Give it back; twice is once."""


class Pinned(Protocol):
    """Memory of the host that copies may run to and from while the host does something else.

    Attributes:
        array: the memory, uint8 [nbytes].
        address: where the device sees it, if it was asked to; else None.
    """

    array: NDArray[np.uint8]
    address: int | None

    def free(self) -> None:
        """Give it back; twice is once. `array` must not be touched then."""


class Event(Protocol):
    """A place in the stream."""

    def wait(self) -> None:
        """Let the host wait until everything before it is done."""


class Recording(Protocol):
    """Work that was recorded and is launched as one (a CUDA graph)."""

    def launch(self) -> None:
        """Put it into the stream."""

    def free(self) -> None:
        """Give it back; twice is once."""


class Device(Protocol):
    """A device with one stream.

    Attributes:
        info: what it is.
        stream: the handle of the stream, for libraries that put work into it.
    """

    info: DeviceInfo
    stream: int

    def memory(self) -> FreeMemory:
        """Return how much there is, at present, also of what others use."""

    def allocate(self, nbytes: int) -> Block:
        """Allocate device memory; EngineError where there is not enough."""

    def allocate_pinned(self, nbytes: int, mapped: bool) -> Pinned:
        """Allocate pinned memory; `mapped`: the device shall see it, too."""

    def upload(self, address: int, pinned: Pinned, nbytes: int) -> None:
        """Copy the first bytes of pinned memory to the device."""

    def download(self, pinned: Pinned, address: int, nbytes: int) -> None:
        """Copy from the device into the first bytes of pinned memory."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""

    def clear(self, address: int, nbytes: int) -> None:
        """Set device memory to zero."""

    def mark(self) -> Event:
        """Return the place the stream has come to."""

    def wait(self) -> None:
        """Let the host wait until everything is done."""

    def record(self, work: Callable[[], Any]) -> Recording:
        """Record what `work` puts into the stream instead of doing it.

        Raises:
            EngineError: this device or its driver cannot.
        """

    def close(self) -> None:
        """Give the device back; everything allocated must have been before. Twice is once."""
