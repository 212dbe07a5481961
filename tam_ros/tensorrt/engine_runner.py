# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Calling an engine: what the host gives and takes goes through pinned memory, the rest stays."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.buffers import Arena
from tam_ros.tensorrt.device import Device, Event, Recording
from tam_ros.tensorrt.engine import Engine, Tensor

_log = logging.getLogger(__name__)

RECORDINGS = 64  # of one engine; a stream that keeps thirty images needs one for each of them


class Port:
    """Pinned memory of one input or output, and device memory beside it unless both are one."""

    def __init__(self, arena: Arena, tensor: Tensor, objects: int, zero_copy: bool) -> None:
        self.tensor = tensor
        self._device = arena.device
        nbytes = tensor.nbytes * (objects if tensor.per_object else 1)
        self._pinned = arena.pinned(nbytes, mapped=zero_copy)
        self._block = None if zero_copy else arena.block(nbytes)
        address = self._pinned.address if self._block is None else self._block.address
        assert address is not None
        self.address = address

    def view(self, objects: int) -> NDArray[Any]:
        """Return the pinned memory as the array of a run."""
        tensor = self.tensor
        nbytes = tensor.nbytes * (objects if tensor.per_object else 1)
        array = self._pinned.array[:nbytes].view(tensor.dtype)
        return array.reshape(tensor.full_shape(objects))

    def send(self, objects: int) -> None:
        """Bring the pinned memory to the device."""
        if self._block is not None:
            self._device.upload(self.address, self._pinned, self.view(objects).nbytes)

    def fetch(self, objects: int) -> None:
        """Bring what the device wrote into the pinned memory."""
        if self._block is not None:
            self._device.download(self._pinned, self.address, self.view(objects).nbytes)


class Recordings:
    """Runs of an engine that were recorded, by what makes them differ: addresses and objects."""

    def __init__(self, device: Device, name: str) -> None:
        self._device = device
        self._name = name
        self._kept: OrderedDict[Hashable, Recording] = OrderedDict()
        self._seen: set[Hashable] = set()
        self._works = True

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do the work, from a recording if there is one; what comes a second time is recorded."""
        if key in self._kept:
            self._kept.move_to_end(key)
            self._kept[key].launch()
            return
        # TensorRT prepares itself in an ordinary run after every change of shapes; only then may
        # it be recorded. So this run is also what the recording needs before it.
        work()
        if not self._works:
            return
        if key not in self._seen:
            self._seen.add(key)
            return
        try:
            self._kept[key] = self._device.record(work)
        except EngineError as error:
            self._works = False
            _log.warning('%s is run without CUDA graphs: %s', self._name, error)
        if len(self._kept) > RECORDINGS:
            self._device.wait()
            self._kept.popitem(last=False)[1].free()

    def close(self) -> None:
        """Give them back."""
        while self._kept:
            self._kept.popitem()[1].free()


class Call:
    """An engine with its ports."""

    def __init__(
        self,
        arena: Arena,
        engine: Engine,
        host: tuple[str, ...],
        zero_copy: bool,
        cuda_graphs: bool,
    ) -> None:
        """Allocate the ports.

        Args:
            arena: of the device that the engine is for.
            engine: ready to run.
            host: the inputs that the host gives and the outputs that it reads.
            zero_copy: see `EngineOptions`.
            cuda_graphs: see there.
        """
        self.max_objects = engine.max_objects
        self._device = arena.device
        self._engine = engine
        self._ports = {
            name: Port(arena, engine.tensors[name], engine.max_objects, zero_copy) for name in host
        }
        self._recordings = Recordings(arena.device, engine.name) if cuda_graphs else None
        self._done: Event | None = None

    def run(
        self, objects: int, given: Mapping[str, NDArray[Any]], addresses: Mapping[str, int]
    ) -> None:
        """Put a run into the stream; does not wait for it.

        Args:
            objects: in this run, 1 to `max_objects`.
            given: every input that is the host's; converted to the types of the engine.
            addresses: of everything that stays on the device.
        """
        self._wait()  # for the last run to have read what is about to be overwritten
        for name, array in given.items():
            port = self._ports[name]
            view = port.view(objects)
            if view.shape != array.shape:
                raise ValueError(
                    f'{name} of {self._engine.name} is {array.shape} instead of {view.shape}'
                )
            np.copyto(view, array, casting='same_kind')
            port.send(objects)
        every = dict(addresses) | {name: port.address for name, port in self._ports.items()}

        def work() -> None:
            self._engine.run(self._device.stream, every, objects)

        if self._recordings is None:
            work()
        else:
            self._recordings.run((objects, *sorted(every.items())), work)
        for port in self._ports.values():
            if not port.tensor.is_input:
                port.fetch(objects)
        self._done = self._device.mark()

    def read(self, objects: int) -> dict[str, NDArray[Any]]:
        """Wait for the last run and return copies of its outputs that are the host's."""
        self._wait()
        return {
            name: port.view(objects).copy()
            for name, port in self._ports.items()
            if not port.tensor.is_input
        }

    def _wait(self) -> None:
        if self._done is not None:
            self._done.wait()
            self._done = None

    def close(self) -> None:
        """Give the recordings back; the ports are the arena's, the engine its owner's."""
        self._done = None
        if self._recordings is not None:
            self._recordings.close()
