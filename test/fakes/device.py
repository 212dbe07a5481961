# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A device in the host's memory that does everything as late as it may.

What is asked of it waits in a queue until somebody waits for it, as on a GPU that is far behind.
Results are poison until then, pinned memory that is changed too early is noticed, and so is every
address that lies outside of what is allocated, or in what was given back.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import numpy as np

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.device import ALIGNMENT, DeviceInfo, FreeMemory

POISON = 0xFF  # NaN in every float type, -1 in every integer type
TOTAL = 8_000_000_000
FACTS = DeviceInfo('Fake Orin', '8.7', 8, True, '12.6')
_streams = itertools.count(7001)
_devices: dict[int, FakeDevice] = {}


class MisuseError(AssertionError):
    """Something that a real device would not forgive."""


def of_stream(stream: int) -> FakeDevice:
    """Return the device of a stream."""
    return _devices[stream]


class FakeBlock:
    """Memory with an address."""

    def __init__(self, device: FakeDevice, address: int, array: np.ndarray, kind: str) -> None:
        self.device, self.address, self.array, self.kind = device, address, array, kind
        self.nbytes = array.nbytes
        self.freed = False

    def free(self) -> None:
        self.device.check_thread()
        if not self.freed:
            if any(self in used for used, _ in self.device.queue):
                raise MisuseError(f'{self.kind} memory is given back while it is in use')
            self.freed = True
            self.device.freed += self.nbytes


class FakePinned(FakeBlock):
    """Pinned memory; `address` is None unless it is mapped."""

    def __init__(self, device: FakeDevice, nbytes: int, mapped: bool) -> None:
        place = device.place(nbytes)
        super().__init__(device, place, np.full(nbytes, POISON, np.uint8), 'pinned')
        self.mapped_at = place if mapped else None
        self.address = self.mapped_at


class FakeEvent:
    """A place in the queue."""

    def __init__(self, device: FakeDevice) -> None:
        self.device, self.position = device, device.asked

    def wait(self) -> None:
        self.device.run_until(self.position)


class FakeRecording:
    """Work that is put into the queue again and again."""

    def __init__(self, device: FakeDevice, work: list) -> None:
        self.device, self.work, self.freed = device, work, False

    def launch(self) -> None:
        if self.freed:
            raise MisuseError('a recording that was given back is launched')
        self.device.launches += 1
        for enqueue in self.work:
            enqueue()

    def free(self) -> None:
        self.freed = True


class FakeDevice:
    """See above. `journal` lists what was asked for."""

    def __init__(self, total: int = TOTAL, records: bool = True) -> None:
        self.info = FACTS
        self.stream = next(_streams)
        _devices[self.stream] = self
        self.total, self.records = total, records
        self.blocks: list[FakeBlock] = []
        self.next_address = 1 << 20
        self.queue: list[tuple[list[FakeBlock], Callable[[], None]]] = []
        self.asked = self.done = 0
        self.journal: list[tuple] = []
        self.recording: list | None = None
        self.launches = self.freed = 0
        self.closed = False
        self.thread = threading.get_ident()

    def check_thread(self) -> None:
        if threading.get_ident() != self.thread:
            raise MisuseError('the device belongs to another thread')
        if self.closed:
            raise MisuseError('the device is closed')

    def place(self, nbytes: int) -> int:
        address = self.next_address
        # Something unallocated between any two blocks.
        self.next_address += (nbytes // ALIGNMENT + 2) * ALIGNMENT
        return address

    @property
    def allocated(self) -> int:
        return sum(block.nbytes for block in self.blocks if not block.freed)

    def memory(self) -> FreeMemory:
        self.check_thread()
        return FreeMemory(self.total - self.allocated, self.total)

    def allocate(self, nbytes: int) -> FakeBlock:
        self.check_thread()
        if self.allocated + nbytes > self.total:
            raise EngineError(f'Fake Orin has no {nbytes / 1e6:.0f} MB left')
        block = FakeBlock(self, self.place(nbytes), np.full(nbytes, POISON, np.uint8), 'device')
        self.blocks.append(block)
        self.journal.append(('allocate', nbytes))
        return block

    def allocate_pinned(self, nbytes: int, mapped: bool) -> FakePinned:
        self.check_thread()
        pinned = FakePinned(self, nbytes, mapped)
        self.blocks.append(pinned)
        self.journal.append(('pinned', nbytes))
        return pinned

    def find(self, address: int, nbytes: int) -> tuple[FakeBlock, np.ndarray]:
        """Return the block and the bytes at an address that the device may use."""
        for block in self.blocks:
            if (
                block.address is not None
                and block.address <= address < block.address + block.nbytes
            ):
                if block.freed:
                    raise MisuseError(f'{block.kind} memory is used after it was given back')
                offset = address - block.address
                if offset + nbytes > block.nbytes:
                    raise MisuseError(f'{nbytes} bytes at {offset} of a block of {block.nbytes}')
                return block, block.array[offset : offset + nbytes]
        raise MisuseError(f'nothing is allocated at {address}')

    def enqueue(
        self,
        used: list[FakeBlock],
        work: Callable[[], None],
        at_once: Callable[[], None] = lambda: None,
    ) -> None:
        """Put work that uses some memory into the stream; `at_once` when it gets there."""
        self.check_thread()

        def put() -> None:
            at_once()
            self.asked += 1
            self.queue.append((used, work))

        if self.recording is None:
            put()
        else:
            self.recording.append(put)

    def run_until(self, position: int) -> None:
        self.check_thread()
        if self.recording is not None:
            raise MisuseError('waiting while a recording is made')
        while self.done < position:
            _, work = self.queue.pop(0)
            self.done += 1
            work()

    def wait(self) -> None:
        self.run_until(self.asked)

    def mark(self) -> FakeEvent:
        self.check_thread()
        return FakeEvent(self)

    def _alive(self, pinned: FakePinned, nbytes: int) -> np.ndarray:
        if pinned.freed:
            raise MisuseError('pinned memory is used after it was given back')
        if nbytes > pinned.nbytes:
            raise MisuseError(f'{nbytes} bytes of {pinned.nbytes} that are pinned')
        return pinned.array[:nbytes]

    def upload(self, address: int, pinned: FakePinned, nbytes: int) -> None:
        block, target = self.find(address, nbytes)
        source = self._alive(pinned, nbytes)
        then = source.copy()
        self.journal.append(('upload', nbytes))

        def work() -> None:
            if not np.array_equal(then, source):
                raise MisuseError('pinned memory was changed before its copy was made')
            target[:] = source

        self.enqueue([block, pinned], work)

    def download(self, pinned: FakePinned, address: int, nbytes: int) -> None:
        block, source = self.find(address, nbytes)
        target = self._alive(pinned, nbytes)
        target[:] = POISON
        self.journal.append(('download', nbytes))

        def work() -> None:
            target[:] = source

        self.enqueue([block, pinned], work)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        to, into = self.find(target, nbytes)
        of, out = self.find(source, nbytes)
        self.journal.append(('copy', nbytes))

        def work() -> None:
            into[:] = out

        self.enqueue([to, of], work)

    def clear(self, address: int, nbytes: int) -> None:
        block, target = self.find(address, nbytes)
        self.enqueue([block], lambda: target.fill(0))

    def record(self, work: Callable[[], None]) -> FakeRecording:
        if not self.records:
            raise EngineError('this driver records nothing')
        self.check_thread()
        self.recording = []
        try:
            work()
            return FakeRecording(self, self.recording)
        finally:
            self.recording = None

    def close(self) -> None:
        if self.closed:
            return
        self.wait()
        left = [block.kind for block in self.blocks if not block.freed]
        if left:
            raise MisuseError(f'memory was not given back: {left}')
        self.closed = True
