# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A tracker on sessions that use the host's memory: its four functions, and its memories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tam_ros.model_files import (
    DECODER_OUTPUTS,
    HIGH_RESOLUTION,
    SINGLE_MEMORY,
    TRACKER,
    ModelSpec,
    as_tracker,
)
from tam_ros.runtime.base import (
    Backend,
    BankRows,
    Candidates,
    Features,
    Floats,
    Handle,
    LoadedGraphs,
    ModelSource,
    PromptTokens,
    Runtime,
)


def round_to_bfloat16(x: Floats) -> Floats:
    """Round finite numbers to bfloat16, to the nearest and ties to even, as float32."""
    bits = x.view(np.uint32)
    rounded: NDArray[np.uint32] = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def float_input(spec: ModelSpec, graph: str) -> str | None:
    """Return the input of a graph that is made to take float32 as well as uint8; None: none.

    It is the image of a tracker's encoder, which begins by converting it.
    """
    return 'image' if spec.kind == TRACKER and graph == 'image_encoder' else None


class HostRuntime(Runtime):
    """Runs the graphs of a tracker and keeps its memories in numpy arrays."""

    def __init__(
        self,
        name: str,
        loaded: LoadedGraphs,
        any_slots: bool = False,
        float_images: bool = False,
    ) -> None:
        """Use the sessions, which are closed with the runtime.

        Args:
            name: name of the backend.
            loaded: the graphs of a tracker.
            any_slots: the memory attention accepts any number of memories. Slots that no object
                of a batch uses are then left out instead of masked, which saves time.
            float_images: see `Runtime`.

        Raises:
            WeightsError: the model is not a tracker.
        """
        self.name = name
        self.spec = as_tracker(loaded.spec)
        self.info = dict(loaded.info)
        self.float_images = float_images
        self._loaded = loaded
        self._sessions = loaded.sessions
        self._any_slots = any_slots

    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        spec = self.spec
        self._memories = np.zeros(
            (rows, memory_slots, spec.memory_tokens, spec.memory_dim), np.float32
        )
        self._pointers = np.zeros((rows, pointer_slots, spec.dim), np.float32)

    def image_encoder(self, image: NDArray[np.uint8] | Floats) -> Features:
        encoded = self._sessions['image_encoder'].run({'image': image[None]})
        finer = tuple(encoded[name] for name in HIGH_RESOLUTION if name in encoded)
        return Features(encoded['features'], encoded['features_without_memory'], finer)

    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        graph, columns = 'memory_attention', self.spec.slots
        if self.spec.pooled and not pooled:
            graph, columns = SINGLE_MEMORY, 1
        elif self._any_slots:
            columns = int(bank.memory_valid.sum(1).max())
        rows = bank.rows[:, None]
        return self._sessions[graph].run(
            {
                'features': features.raw,
                'memories': self._memories[rows, bank.memory_slots[:, :columns]],
                'temporal_index': bank.temporal_index[:, :columns],
                'memory_valid': bank.memory_valid[:, :columns],
                'pointers': self._pointers[rows, bank.pointer_slots],
                'pointer_valid': bank.pointer_valid,
            }
        )['conditioned']

    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        merged = np.empty((sum(map(len, groups)), *parts[0].shape[1:]), np.float32)
        for index, part in zip(groups, parts, strict=True):
            merged[index] = part
        return merged

    def select_object(self, conditioned: Handle, index: int) -> Handle:
        return conditioned[index : index + 1]

    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        finer = dict(zip(HIGH_RESOLUTION, features.high_resolution, strict=False))
        decoded = self._sessions['mask_decoder'].run(
            {'features': source, **prompts._asdict(), **finer}
        )
        return Candidates(*(decoded[name] for name in DECODER_OUTPUTS))

    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        encoded = self._sessions['memory_encoder'].run(
            {'features': features.raw, 'masks': masks[:, None], 'prompted': prompted}
        )
        # The graph rounds, but OpenVINO removes that on processors without bfloat16.
        return round_to_bfloat16(encoded['memory'])

    def store(
        self,
        rows: list[int],
        memory_slots: list[int],
        pointer_slots: list[int],
        memories: Handle,
        pointers: Floats,
    ) -> None:
        self._memories[rows, memory_slots] = memories
        self._pointers[rows, pointer_slots] = pointers

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        return self._memories[row].copy(), self._pointers[row].copy()

    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        self._memories[row] = memories
        self._pointers[row] = pointers

    def close(self) -> None:
        self._loaded.close()


class HostBackend(Backend):
    """A backend whose sessions use the host's memory; a subclass implements `load`."""

    name: str
    float_images = False  # see `Runtime`

    def open_tracker(self, source: ModelSource) -> Runtime:
        """Load a tracker."""
        return HostRuntime(self.name, self.load(source), float_images=self.float_images)
