# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A fake device in the host's memory that runs every operation as late as possible.

Operations wait in a queue until the host waits for them, as on a GPU that is far behind. Outputs
hold a poison value until then. Pinned memory that is changed too early raises an error, and so
does every address outside of the allocated memory or in released memory.
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
INFO = DeviceInfo('Fake Orin', '8.7', 8, True, '12.6')
_streams = itertools.count(7001)
_devices: dict[int, FakeDevice] = {}


class MisuseError(AssertionError):
    """Use of a device that would be a fault on a real one."""


def of_stream(stream: int) -> FakeDevice:
    """Return the device of a stream."""
    return _devices[stream]


class FakeBlock:
    """Device memory with an address."""

    def __init__(self, device: FakeDevice, address: int, array: np.ndarray, kind: str) -> None:
        self.device, self.address, self.array, self.kind = device, address, array, kind
        self.nbytes = array.nbytes
        self.freed = False

    def free(self) -> None:
        self.device.check_thread()
        if not self.freed:
            if any(self in used for used, _ in self.device.queue):
                raise MisuseError(f'{self.kind} memory is released while it is in use')
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
    """A position in the queue."""

    def __init__(self, device: FakeDevice) -> None:
        self.device, self.position = device, device.queued

    def wait(self) -> None:
        self.device.run_until(self.position)


class FakeRecording:
    """Recorded operations that can be queued many times."""

    def __init__(self, device: FakeDevice, work: list) -> None:
        self.device, self.work, self.freed = device, work, False

    def launch(self) -> None:
        if self.freed:
            raise MisuseError('a released recording is launched')
        self.device.launches += 1
        for enqueue in self.work:
            enqueue()

    def free(self) -> None:
        self.freed = True


class FakeDevice:
    """The device. `journal` lists the operations in the order of their calls."""

    def __init__(self, total: int = TOTAL, records: bool = True) -> None:
        self.info = INFO
        self.stream = next(_streams)
        _devices[self.stream] = self
        self.total, self.records = total, records
        self.blocks: list[FakeBlock] = []
        self.next_address = 1 << 20
        self.queue: list[tuple[list[FakeBlock], Callable[[], None]]] = []
        self.queued = self.done = 0
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
        # Leave unallocated space between any two blocks.
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
            raise EngineError(f'{nbytes / 1e6:.0f} MB cannot be allocated on Fake Orin')
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
        """Return the allocated block and the bytes at an address."""
        for block in self.blocks:
            if (
                block.address is not None
                and block.address <= address < block.address + block.nbytes
            ):
                if block.freed:
                    raise MisuseError(f'{block.kind} memory is used after it was released')
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
        """Queue work that uses some memory; `at_once` is called when it is queued."""
        self.check_thread()

        def put() -> None:
            at_once()
            self.queued += 1
            self.queue.append((used, work))

        if self.recording is None:
            put()
        else:
            self.recording.append(put)

    def run_until(self, position: int) -> None:
        self.check_thread()
        if self.recording is not None:
            raise MisuseError('waiting during a recording')
        while self.done < position:
            _, work = self.queue.pop(0)
            self.done += 1
            work()

    def wait(self) -> None:
        self.run_until(self.queued)

    def mark(self) -> FakeEvent:
        self.check_thread()
        return FakeEvent(self)

    def _alive(self, pinned: FakePinned, nbytes: int) -> np.ndarray:
        if pinned.freed:
            raise MisuseError('pinned memory is used after it was released')
        if nbytes > pinned.nbytes:
            raise MisuseError(f'{nbytes} bytes of a pinned block of {pinned.nbytes}')
        return pinned.array[:nbytes]

    def upload(self, address: int, pinned: FakePinned, nbytes: int) -> None:
        block, target = self.find(address, nbytes)
        source = self._alive(pinned, nbytes)
        before = source.copy()
        self.journal.append(('upload', nbytes))

        def work() -> None:
            if not np.array_equal(before, source):
                raise MisuseError('pinned memory was changed before it was copied')
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
            raise EngineError('this driver cannot record')
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
            raise MisuseError(f'memory was not released: {left}')
        self.closed = True
