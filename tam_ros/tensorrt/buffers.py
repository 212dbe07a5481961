# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Device memory that is allocated once and lent out again and again."""

from __future__ import annotations

import logging
import weakref
from typing import NamedTuple

from tam_ros.tensorrt.device import ALIGNMENT, Block, Device, Pinned

_log = logging.getLogger(__name__)


class Arena:
    """Remembers what is allocated, so that all of it is given back, whatever went wrong."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._kept: list[Block | Pinned] = []

    def block(self, nbytes: int) -> Block:
        """Allocate device memory, zero all over; EngineError where there is not enough.

        Slots of a bank that nobody wrote are hidden by a weight of exactly 0, which times what was
        left there by somebody else might be NaN.
        """
        block = self.device.allocate(align(nbytes))
        self._kept.append(block)
        self.device.clear(block.address, block.nbytes)
        return block

    def pinned(self, nbytes: int, mapped: bool = False) -> Pinned:
        """Allocate pinned memory; `mapped`: the device shall see it, too."""
        pinned = self.device.allocate_pinned(align(nbytes), mapped)
        self._kept.append(pinned)
        return pinned

    def close(self) -> None:
        """Give everything back, the newest first. The device must have nothing left to do."""
        while self._kept:
            self._kept.pop().free()


class Lease:
    """Memory that is ours for as long as something refers to this.

    Attributes:
        address: on the device.
    """

    __slots__ = ('__weakref__', 'address')

    def __init__(self, address: int) -> None:
        self.address = address


class Pool:
    """Equal pieces of device memory.

    A piece comes back when its lease is collected, in whatever thread that happens: nothing is
    asked of the device then, and its stream runs in order, so that the next user cannot overtake
    the last.
    """

    def __init__(self, arena: Arena, name: str, nbytes: int, count: int) -> None:
        """Allocate the pieces.

        Args:
            arena: the memory is its own, and given back with it.
            name: of what is kept here, for the log.
            nbytes: of a piece.
            count: of pieces.
        """
        self._arena = arena
        self._name = name
        self.nbytes = align(nbytes)
        self._free: list[int] = []
        self._add(count)

    def take(self) -> Lease:
        """Lend a piece; there is always one, if need be a new one."""
        try:
            # The newest first: runs on the same addresses can be recorded and launched again.
            address = self._free.pop()
        except IndexError:
            _log.info(
                'one more piece of %.1f MB for %s: more are kept than were asked for',
                self.nbytes / 1e6,
                self._name,
            )
            self._add(1)
            address = self._free.pop()
        lease = Lease(address)
        # Not at exit: the device may be gone by then, and so is all its memory.
        weakref.finalize(lease, self._free.append, address).atexit = False
        return lease

    def _add(self, count: int) -> None:
        block = self._arena.block(self.nbytes * count)
        self._free.extend(block.address + index * self.nbytes for index in range(count))


class Rows(NamedTuple):
    """A handle: equally large tensors on the device, one for each object, wherever they lie.

    Attributes:
        addresses: of each.
        owners: what keeps them.
    """

    addresses: tuple[int, ...]
    owners: tuple[Lease, ...]

    def together(self, stride: int) -> bool:
        """Whether they lie one after another, from an address that an engine accepts."""
        first = self.addresses[0]
        return first % ALIGNMENT == 0 and all(
            address == first + index * stride for index, address in enumerate(self.addresses)
        )


def align(nbytes: int) -> int:
    """Round up to what addresses are multiples of; never 0."""
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT
