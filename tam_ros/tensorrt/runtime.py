# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A tracker on TensorRT engines: the four functions, with features and memories on the device.

Images are uploaded and masks downloaded through pinned memory. Features, conditioned features and
memories stay on the device; the memory bank is one block there, in which the tracker chooses the
slots to overwrite. The memories that an object attends to are gathered by copies within the
device, at most seven for each object. If the graph took an index into the bank instead, the host
would not have to queue these copies, but the engine would depend on the size of the bank, which is
a setting of the tracker. The graph rounds memories to bfloat16 itself, so that storing them is a
copy as well. Object pointers (1 KB each) are selected and kept by the host, and uploaded with the
other small inputs.

An engine runs a limited number of objects at once; more are run in several batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.model_files import DECODER_OUTPUTS, HIGH_RESOLUTION, SINGLE_MEMORY, TrackerSpec
from tam_ros.runtime.base import (
    BankRows,
    Candidates,
    DeviceMemory,
    EngineError,
    Features,
    Floats,
    Handle,
    PromptTokens,
    Runtime,
)
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tensorrt.buffers import Arena, Lease, Pool, Rows, align
from tam_ros.tensorrt.device import Device
from tam_ros.tensorrt.engine import Engine, Tensor
from tam_ros.tensorrt.engine_runner import EngineRunner, batches

# Inputs and outputs with a host binding, by graph; all others stay on the device.
HOST = {
    'image_encoder': ('image',),
    'memory_attention': ('temporal_index', 'memory_valid', 'pointers', 'pointer_valid'),
    SINGLE_MEMORY: ('temporal_index', 'memory_valid', 'pointers', 'pointer_valid'),
    'mask_decoder': (
        'points',
        'labels',
        'mask',
        'has_mask',
        *DECODER_OUTPUTS,
    ),
    'memory_encoder': ('masks', 'prompted'),
}
FEATURES = ('features', 'features_without_memory')
# Outputs of one graph that are inputs of another, without leaving the device: type and size must
# be the same.
FLOWS = (
    *(
        (('image_encoder', 'features'), (graph, 'features'))
        for graph in ('memory_attention', SINGLE_MEMORY, 'memory_encoder')
    ),
    *((('image_encoder', name), ('mask_decoder', 'features')) for name in FEATURES),
    *((('image_encoder', name), ('mask_decoder', name)) for name in HIGH_RESOLUTION),
    *(
        ((graph, 'conditioned'), ('mask_decoder', 'features'))
        for graph in ('memory_attention', SINGLE_MEMORY)
    ),
    *(
        (('memory_encoder', 'memory'), (graph, 'memories'))
        for graph in ('memory_attention', SINGLE_MEMORY)
    ),
)


class TensorrtRuntime(Runtime):
    """Runs the engines of one tracker."""

    name = 'tensorrt'

    def __init__(
        self,
        spec: TrackerSpec,
        engines: Mapping[str, Engine],
        device: Device,
        options: EngineOptions,
        info: Mapping[str, str],
        free_before: int | None = None,
    ) -> None:
        """Check that the engines fit together. They and the device are closed with the runtime.

        Args:
            spec: spec of the model.
            engines: by graph, not prepared yet.
            device: open in this thread.
            options: how to run them.
            info: see `Runtime`.
            free_before: bytes that were free on the device before the engines were loaded; None:
                those that are free now.

        Raises:
            EngineError: the engines are not of one model.
        """
        self.spec = spec
        self.info = dict(info)
        self._engines = dict(engines)
        self._device = device
        self._options = options
        self._free_before = device.memory().free if free_before is None else free_before
        self._arena = Arena(device)
        self._runners: dict[str, EngineRunner] = {}
        self._closed = False
        self._check_flows()
        encoder = engines['image_encoder'].tensors
        self._feature_offsets: dict[str, int] = {}
        self._image_bytes = 0
        for name in (*FEATURES, *HIGH_RESOLUTION):
            if name in encoder:
                self._feature_offsets[name] = self._image_bytes
                self._image_bytes += align(encoder[name].nbytes)

    def _check_flows(self) -> None:
        for (source, output), (target, given) in FLOWS:
            if source not in self._engines or target not in self._engines:
                continue
            one = self._engines[source].tensors.get(output)
            other = self._engines[target].tensors.get(given)
            if one is None and other is None:
                continue
            if (
                one is None
                or other is None
                or one.dtype != other.dtype
                or one.nbytes != _item_size(other.shape, one.shape) * other.dtype.itemsize
            ):
                raise EngineError(
                    f'{output} of {source} ({_describe(one)}) does not fit {given} of {target} '
                    f'({_describe(other)}): these engines are not of one model'
                )

    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        if self._runners:
            raise RuntimeError('the storage is allocated already')
        engines, spec, arena, options = self._engines, self.spec, self._arena, self._options
        scratch = arena.block(max(engine.scratch_bytes for engine in engines.values()))
        for name, engine in engines.items():
            engine.prepare(scratch.address)
            self._runners[name] = EngineRunner(
                arena, engine, HOST[name], options.zero_copy, options.cuda_graphs
            )
        memory = engines['memory_encoder'].tensors['memory']
        attention = engines['memory_attention'].tensors
        self._memory_type, self._memory_bytes = memory.dtype, memory.nbytes
        self._stride = attention['conditioned'].nbytes
        self._slots = memory_slots
        self._bank = arena.block(rows * memory_slots * self._memory_bytes)
        self._pointers = np.zeros((rows, pointer_slots, spec.dim), np.float32)

        largest = max(runner.max_batch for runner in self._runners.values())
        self._gathered = arena.block(largest * spec.slots * self._memory_bytes)
        self._sources = arena.block(largest * self._stride)
        runs = {name: -(-rows // runner.max_batch) for name, runner in self._runners.items()}
        self._images = Pool(arena, 'images', self._image_bytes, images)
        self._conditioned = Pool(
            arena,
            'conditioned features',
            largest * self._stride,
            runs['memory_attention'] + int(spec.pooled),
        )
        self._memories = Pool(
            arena, 'memories', largest * self._memory_bytes, runs['memory_encoder']
        )
        self._row = arena.pinned(self._memory_bytes)
        self._device.wait()

    def image_encoder(self, image: NDArray[np.uint8] | Floats) -> Features:
        lease = self._images.lease()
        addresses = {
            name: lease.address + offset for name, offset in self._feature_offsets.items()
        }
        self._runners['image_encoder'].run(1, {'image': image[None]}, addresses)
        raw, without_memory, *finer = (
            Rows((address,), (lease,)) for address in addresses.values()
        )
        return Features(raw, without_memory, tuple(finer))

    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        graph, columns = 'memory_attention', self.spec.slots
        if self.spec.pooled and not pooled:
            graph, columns = SINGLE_MEMORY, 1
        runner = self._runners[graph]
        parts = []
        for index in batches(len(bank.rows), runner.max_batch):
            part = bank.select(index)
            self._gather(part, columns)
            lease = self._conditioned.lease()
            runner.run(
                len(index),
                {
                    'temporal_index': part.temporal_index[:, :columns],
                    'memory_valid': part.memory_valid[:, :columns],
                    'pointers': self._pointers[part.rows[:, None], part.pointer_slots],
                    'pointer_valid': part.pointer_valid,
                },
                {
                    'features': features.raw.addresses[0],
                    'memories': self._gathered.address,
                    'conditioned': lease.address,
                },
            )
            parts.append(_rows(lease.address, self._stride, len(index), lease))
        return _joined(parts)

    def _gather(self, bank: BankRows, columns: int) -> None:
        """Copy a batch's memories into one block; columns that are not valid are not written."""
        for position, (row, slots, valid) in enumerate(
            zip(bank.rows, bank.memory_slots, bank.memory_valid, strict=True)
        ):
            for column in np.flatnonzero(valid[:columns]):
                target = position * columns + int(column)
                self._device.copy(
                    self._gathered.address + target * self._memory_bytes,
                    self._slot(row, slots[column]),
                    self._memory_bytes,
                )

    def _slot(self, row: int, slot: int) -> int:
        return self._bank.address + (int(row) * self._slots + int(slot)) * self._memory_bytes

    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        order = np.argsort(np.concatenate(groups))
        joined = _joined(parts)
        return Rows(tuple(joined.addresses[index] for index in order), joined.owners)

    def select_object(self, conditioned: Handle, index: int) -> Handle:
        return Rows(conditioned.addresses[index : index + 1], conditioned.owners)

    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        runner = self._runners['mask_decoder']
        finer = {
            name: handle.addresses[0]
            for name, handle in zip(HIGH_RESOLUTION, features.high_resolution, strict=False)
        }
        found = []
        for index in batches(len(prompts.labels), runner.max_batch):
            rows = Rows(
                tuple(source.addresses[i % len(source.addresses)] for i in index), source.owners
            )
            runner.run(
                len(index),
                {name: array[index] for name, array in prompts._asdict().items()},
                {'features': self._contiguous(rows), **finer},
            )
            results = runner.read(len(index))
            found.append([results[name] for name in DECODER_OUTPUTS])
        return Candidates(
            *(
                np.concatenate(part).astype(np.float32, copy=False)
                for part in zip(*found, strict=True)
            )
        )

    def _contiguous(self, rows: Rows) -> int:
        """Return the address of the rows, copied one after another if they are not so already."""
        if rows.contiguous(self._stride):
            return rows.addresses[0]
        for position, address in enumerate(rows.addresses):
            self._device.copy(
                self._sources.address + position * self._stride, address, self._stride
            )
        return self._sources.address

    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        runner = self._runners['memory_encoder']
        parts = []
        for index in batches(len(masks), runner.max_batch):
            lease = self._memories.lease()
            runner.run(
                len(index),
                {'masks': masks[index][:, None], 'prompted': prompted[index]},
                {'features': features.raw.addresses[0], 'memory': lease.address},
            )
            parts.append(_rows(lease.address, self._memory_bytes, len(index), lease))
        return _joined(parts)

    def store(
        self,
        rows: list[int],
        memory_slots: list[int],
        pointer_slots: list[int],
        memories: Handle,
        pointers: Floats,
    ) -> None:
        for row, slot, address in zip(rows, memory_slots, memories.addresses, strict=True):
            self._device.copy(self._slot(row, slot), address, self._memory_bytes)
        self._pointers[rows, pointer_slots] = pointers

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        shape = self.spec.memory_tokens, self.spec.memory_dim
        memories = np.empty((self._slots, *shape), np.float32)
        for slot in range(self._slots):
            self._device.download(self._row, self._slot(row, slot), self._memory_bytes)
            self._device.wait()
            memories[slot] = self._row_view().reshape(shape)
        return memories, self._pointers[row].copy()

    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        for slot in range(self._slots):
            self._device.wait()
            np.copyto(self._row_view(), memories[slot].reshape(-1), casting='same_kind')
            self._device.upload(self._slot(row, slot), self._row, self._memory_bytes)
        self._device.wait()
        self._pointers[row] = pointers

    def _row_view(self) -> NDArray[Any]:
        return self._row.array[: self._memory_bytes].view(self._memory_type)

    def device_memory(self) -> DeviceMemory | None:
        now = self._device.memory()
        return DeviceMemory(max(self._free_before - now.free, 0), now.free, now.total)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:  # everything is released, also after a fault of the device
            stack.callback(self._device.close)
            stack.callback(self._arena.close)
            for engine in self._engines.values():
                stack.callback(engine.close)
            for runner in self._runners.values():
                stack.callback(runner.close)
            self._device.wait()


def _item_size(shape: tuple[int, ...], one: tuple[int, ...]) -> int:
    """Return the number of elements of one object or one memory in an input.

    Inputs with slots have a dimension of slots first; those of one image a leading 1.
    """
    trimmed = shape[1:] if len(shape) > len(one) else shape
    return int(np.prod(trimmed))


def _describe(tensor: Tensor | None) -> str:
    return 'absent' if tensor is None else f'{tensor.dtype} {tensor.shape}'


def _rows(address: int, stride: int, count: int, lease: Lease) -> Rows:
    return Rows(tuple(address + index * stride for index in range(count)), (lease,))


def _joined(parts: list[Rows]) -> Rows:
    return Rows(
        sum((part.addresses for part in parts), ()), sum((part.owners for part in parts), ())
    )
