# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Device memory that is allocated once and reused."""

from __future__ import annotations

import logging
import weakref
from typing import NamedTuple

from tam_ros.tensorrt.device import ALIGNMENT, Block, Device, Pinned

_log = logging.getLogger(__name__)


class Arena:
    """Owns every allocation on a device, so that all of it is released together."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._owned: list[Block | Pinned] = []

    def block(self, nbytes: int) -> Block:
        """Allocate device memory filled with zeros; EngineError where there is not enough.

        The memory attention hides empty memory slots with a weight of exactly 0; if the slots
        held NaN, the product would be NaN as well.
        """
        block = self.device.allocate(align(nbytes))
        self._owned.append(block)
        self.device.clear(block.address, block.nbytes)
        return block

    def pinned(self, nbytes: int, mapped: bool = False) -> Pinned:
        """Allocate pinned memory; `mapped`: the device can address it as well."""
        pinned = self.device.allocate_pinned(align(nbytes), mapped)
        self._owned.append(pinned)
        return pinned

    def close(self) -> None:
        """Release everything, newest first. The device's stream must be empty."""
        while self._owned:
            self._owned.pop().free()


class Lease:
    """A piece of a `Pool`; it returns to the pool when nothing refers to the lease any more.

    Attributes:
        address: on the device.
    """

    __slots__ = ('__weakref__', 'address')

    def __init__(self, address: int) -> None:
        self.address = address


class Pool:
    """Equally large pieces of device memory.

    A piece returns when its lease is garbage-collected, in any thread. That needs no call to the
    device: the stream runs in order, so the next use of a piece cannot overtake the last one.
    """

    def __init__(self, arena: Arena, name: str, nbytes: int, count: int) -> None:
        """Allocate the pieces.

        Args:
            arena: owns the memory.
            name: name of the content, for the log.
            nbytes: size of a piece.
            count: number of pieces.
        """
        self._arena = arena
        self._name = name
        self.nbytes = align(nbytes)
        self._free: list[int] = []
        self._add(count)

    def lease(self) -> Lease:
        """Return a free piece; the pool grows where there is none."""
        try:
            # The newest first: a run on the same addresses can use the same CUDA graph.
            address = self._free.pop()
        except IndexError:
            _log.info(
                'allocating %.1f MB more for %s: more of them are in use than was planned for',
                self.nbytes / 1e6,
                self._name,
            )
            self._add(1)
            address = self._free.pop()
        lease = Lease(address)
        # Not at exit: the device may be closed by then, and its memory released.
        weakref.finalize(lease, self._free.append, address).atexit = False
        return lease

    def _add(self, count: int) -> None:
        block = self._arena.block(self.nbytes * count)
        self._free.extend(block.address + index * self.nbytes for index in range(count))


class Rows(NamedTuple):
    """A handle: equally large tensors on the device, one for each object, at any addresses.

    Attributes:
        addresses: address of each tensor.
        owners: leases that keep the memory allocated.
    """

    addresses: tuple[int, ...]
    owners: tuple[Lease, ...]

    def contiguous(self, stride: int) -> bool:
        """Whether they lie one after another, from an address that an engine accepts."""
        first = self.addresses[0]
        return first % ALIGNMENT == 0 and all(
            address == first + index * stride for index, address in enumerate(self.addresses)
        )


def align(nbytes: int) -> int:
    """Round up to a multiple of `ALIGNMENT`; never 0."""
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT
