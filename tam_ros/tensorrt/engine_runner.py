# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Running an engine: host arrays pass through pinned memory, other tensors stay on the device."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Arrays, EngineError, Session
from tam_ros.tensorrt.buffers import Arena
from tam_ros.tensorrt.device import Device, Event, Recording
from tam_ros.tensorrt.engine import Engine, Tensor

_log = logging.getLogger(__name__)

MAX_RECORDINGS = 64  # of one engine; a stream that keeps thirty images needs one for each of them


def batches(count: int, largest: int) -> Iterator[NDArray[np.intp]]:
    """Split the indices 0 to `count` - 1 into batches of at most `largest`."""
    for begin in range(0, count, largest):
        yield np.arange(begin, min(begin + largest, count))


class HostBinding:
    """An input or output that the host writes or reads.

    It has pinned memory for the largest batch, and device memory unless the device reads and
    writes the pinned memory itself (zero copy).
    """

    def __init__(self, arena: Arena, tensor: Tensor, max_batch: int, zero_copy: bool) -> None:
        self.tensor = tensor
        self._device = arena.device
        nbytes = tensor.full_nbytes(max_batch)
        self._pinned = arena.pinned(nbytes, mapped=zero_copy)
        self._block = None if zero_copy else arena.block(nbytes)
        address = self._pinned.address if self._block is None else self._block.address
        assert address is not None
        self.address = address

    def view(self, batch: int) -> NDArray[Any]:
        """Return the pinned memory as the array of a run."""
        array = self._pinned.array[: self.tensor.full_nbytes(batch)].view(self.tensor.dtype)
        return array.reshape(self.tensor.full_shape(batch))

    def upload(self, batch: int) -> None:
        """Copy the pinned memory to the device."""
        if self._block is not None:
            self._device.upload(self.address, self._pinned, self.tensor.full_nbytes(batch))

    def download(self, batch: int) -> None:
        """Copy the device's result into the pinned memory."""
        if self._block is not None:
            self._device.download(self._pinned, self.address, self.tensor.full_nbytes(batch))


class Recordings:
    """Recorded runs of an engine, by what distinguishes them: addresses and batch size."""

    def __init__(self, device: Device, name: str) -> None:
        self._device = device
        self._name = name
        self._recordings: OrderedDict[Hashable, Recording] = OrderedDict()
        self._seen: set[Hashable] = set()
        self._enabled = True

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Launch the recording of this key; otherwise do the work, the second time record it.

        TensorRT prepares itself in an ordinary run after every change of shapes, and can be
        recorded only after that.
        """
        if key in self._recordings:
            self._recordings.move_to_end(key)
            self._recordings[key].launch()
            return
        work()
        if not self._enabled:
            return
        if key not in self._seen:
            self._seen.add(key)
            return
        try:
            self._recordings[key] = self._device.record(work)
        except EngineError as error:
            self._enabled = False
            _log.warning('%s runs without CUDA graphs: %s', self._name, error)
        if len(self._recordings) > MAX_RECORDINGS:
            self._device.wait()
            self._recordings.popitem(last=False)[1].free()

    def close(self) -> None:
        """Release all recordings."""
        while self._recordings:
            self._recordings.popitem()[1].free()


class EngineRunner:
    """An engine with its host bindings."""

    def __init__(
        self,
        arena: Arena,
        engine: Engine,
        host: tuple[str, ...],
        zero_copy: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        """Allocate the bindings.

        Args:
            arena: memory of the device that the engine is for.
            engine: prepared.
            host: names of the inputs that the host writes and of the outputs that it reads.
            zero_copy: see `EngineOptions`.
            cuda_graphs: see `EngineOptions`.
        """
        self.engine = engine
        self.max_batch = engine.max_batch
        self._device = arena.device
        self._bindings = {
            name: HostBinding(arena, engine.tensors[name], engine.max_batch, zero_copy)
            for name in host
        }
        self._recordings = Recordings(arena.device, engine.name) if cuda_graphs else None
        self._done: Event | None = None

    def run(
        self, batch: int, inputs: Mapping[str, NDArray[Any]], addresses: Mapping[str, int]
    ) -> None:
        """Put a run into the stream; does not wait for it.

        Args:
            batch: size of the batch, 1 to `max_batch`.
            inputs: every input that has a host binding; converted to the engine's types.
            addresses: addresses of every input and output without a host binding.

        Raises:
            ValueError: an input has the wrong shape.
            EngineError: TensorRT rejects the run.
        """
        self._wait()  # until the last run has read the memory that is overwritten next
        for name, array in inputs.items():
            binding = self._bindings[name]
            view = binding.view(batch)
            if view.shape != array.shape:
                raise ValueError(
                    f'{name} of {self.engine.name} is {array.shape} instead of {view.shape}'
                )
            np.copyto(view, array, casting='same_kind')
            binding.upload(batch)
        every = dict(addresses) | {
            name: binding.address for name, binding in self._bindings.items()
        }

        def work() -> None:
            self.engine.run(self._device.stream, every, batch)

        if self._recordings is None:
            work()
        else:
            self._recordings.run((batch, *sorted(every.items())), work)
        for binding in self._bindings.values():
            if not binding.tensor.is_input:
                binding.download(batch)
        self._done = self._device.mark()

    def read(self, batch: int) -> Arrays:
        """Wait for the last run; return copies of the outputs that have a host binding."""
        self._wait()
        return {
            name: binding.view(batch).copy()
            for name, binding in self._bindings.items()
            if not binding.tensor.is_input
        }

    def _wait(self) -> None:
        if self._done is not None:
            self._done.wait()
            self._done = None

    def close(self) -> None:
        """Release the recordings; the arena owns the bindings, the caller the engine."""
        self._done = None
        if self._recordings is not None:
            self._recordings.close()


class EngineSession(Session):
    """An engine whose inputs and outputs all are host arrays.

    Batches beyond the engine's largest are run in several parts.
    """

    def __init__(
        self,
        arena: Arena,
        engine: Engine,
        zero_copy: bool = False,
        cuda_graphs: bool = False,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        """Allocate the bindings.

        Args:
            arena: memory of the device that the engine is for.
            engine: prepared; closed with the session.
            zero_copy: see `EngineOptions`.
            cuda_graphs: see `EngineOptions`.
            closed: called once, after the session was closed.
        """
        self._engine = engine
        self._runner = EngineRunner(arena, engine, tuple(engine.tensors), zero_copy, cuda_graphs)
        self._closed: Callable[[], None] | None = closed

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph; see `Session`.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong shape.
            EngineError: TensorRT rejects the run.
        """
        tensors = self._engine.tensors
        names = {name for name, tensor in tensors.items() if tensor.is_input}
        if set(inputs) != names:
            raise ValueError(
                f'the inputs of {self._engine.name} are {", ".join(sorted(names))}, not '
                f'{", ".join(sorted(inputs))}'
            )
        sizes = {name: len(inputs[name]) for name in names if tensors[name].batched}
        if len(set(sizes.values())) > 1 or 0 in sizes.values():
            raise ValueError(f'{self._engine.name} cannot run the batch sizes {sizes}')
        parts = []
        for index in batches(next(iter(sizes.values()), 1), self._runner.max_batch):
            chosen = {
                name: array[index] if tensors[name].batched else array
                for name, array in inputs.items()
            }
            self._runner.run(len(index), chosen, {})
            parts.append(self._runner.read(len(index)))
        return {
            name: np.concatenate([part[name] for part in parts])
            if tensors[name].batched
            else array
            for name, array in parts[0].items()
        }

    def close(self) -> None:
        """Release the engine. Calling it again does nothing."""
        if self._closed is None:
            return
        closed, self._closed = self._closed, None
        self._runner.close()
        self._engine.close()
        closed()
