"""Device memory that is allocated once and lent out again and again."""

from __future__ import annotations

import logging
import weakref
from typing import NamedTuple

from tam_ros.runtime.device import ALIGNMENT, Block, Device

_log = logging.getLogger(__name__)


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

    def __init__(self, device: Device, name: str, nbytes: int, count: int) -> None:
        """Allocate the pieces.

        Args:
            device: the memory is its own.
            name: of what is kept here, for the log.
            nbytes: of a piece.
            count: of pieces.
        """
        self._device = device
        self._name = name
        self.nbytes = align(nbytes)
        self._blocks: list[Block] = []
        self._free: list[int] = []
        self._add(count)

    def take(self) -> Lease:
        """Lend a piece; there is always one, if need be a new one."""
        try:
            # The newest first: runs on the same addresses can be recorded and launched again.
            address = self._free.pop()
        except IndexError:
            _log.info('one more piece of %.1f MB for %s: more are kept than were asked for',
                      self.nbytes / 1e6, self._name)
            self._add(1)
            address = self._free.pop()
        lease = Lease(address)
        # Not at exit: the device may be gone by then, and so is all its memory.
        weakref.finalize(lease, self._free.append, address).atexit = False
        return lease

    def close(self) -> None:
        """Give the memory back, also what is lent."""
        self._free.clear()
        while self._blocks:
            self._blocks.pop().free()

    def _add(self, count: int) -> None:
        block = self._device.allocate(self.nbytes * count)
        # What a network sees of a piece that was never written has to be a number.
        self._device.clear(block.address, block.nbytes)
        self._blocks.append(block)
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
            address == first + index * stride for index, address in enumerate(self.addresses))


def align(nbytes: int) -> int:
    """Round up to what addresses are multiples of; never 0."""
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT
