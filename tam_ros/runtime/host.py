# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the runtimes whose numbers live in numpy arrays have in common: all but running a graph."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import (
    BankRows,
    Candidates,
    Features,
    Floats,
    Handle,
    PromptTokens,
    Runtime,
)
from tam_ros.runtime.graphs import HIGH_RESOLUTION, SINGLE_MEMORY


class HostRuntime(Runtime):
    """Runs exported graphs on arrays; a backend says how, in `_run`, and sets `spec`."""

    @abstractmethod
    def _run(self, graph: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run a graph by name.

        Args:
            graph: of `tam_ros.runtime.graphs.graph_names`.
            inputs: of the graph, by name.

        Returns:
            Its outputs, in order; new arrays that nobody writes to afterwards.
        """

    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        spec = self.spec
        self._memories = np.zeros(
            (rows, memory_slots, spec.memory_tokens, spec.memory_dim), np.float32
        )
        self._pointers = np.zeros((rows, pointer_slots, spec.dim), np.float32)

    def image_encoder(self, image: NDArray[np.uint8]) -> Features:
        raw, without_memory, *high_resolution = self._run('image_encoder', image=image[None])
        return Features(raw, without_memory, tuple(high_resolution))

    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        graph, columns = 'memory_attention', self.spec.slots
        if self.spec.pooled and not pooled:
            graph, columns = SINGLE_MEMORY, 1
        rows = bank.rows[:, None]
        return self._run(
            graph,
            features=features.raw,
            memories=self._memories[rows, bank.memory_slots[:, :columns]],
            temporal_index=bank.temporal_index[:, :columns],
            memory_valid=bank.memory_valid[:, :columns],
            pointers=self._pointers[rows, bank.pointer_slots],
            pointer_valid=bank.pointer_valid,
        )[0]

    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        merged = np.empty((sum(map(len, groups)), *parts[0].shape[1:]), np.float32)
        for index, part in zip(groups, parts, strict=True):
            merged[index] = part
        return merged

    def take(self, conditioned: Handle, index: int) -> Handle:
        return conditioned[index : index + 1]

    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        finer = dict(zip(HIGH_RESOLUTION, features.high_resolution, strict=False))
        return Candidates(
            *self._run('mask_decoder', features=source, **prompts._asdict(), **finer)
        )

    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        return self._run(
            'memory_encoder', features=features.raw, masks=masks[:, None], prompted=prompted
        )[0]

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
