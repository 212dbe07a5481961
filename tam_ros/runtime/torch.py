# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""PyTorch: the reference the other runtimes are compared with; for development."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tam_ros import catalogue
from tam_ros.models.build import build_network, describe
from tam_ros.runtime.base import (
    BankRows,
    Candidates,
    Features,
    Floats,
    Handle,
    PromptTokens,
    Runtime,
)


class TorchRuntime(Runtime):
    """Calls the network's four functions, float32, on one device."""

    name = 'torch'

    def __init__(
        self,
        entry: catalogue.Model,
        weights: Path | str,
        threads: int | None = None,
        device: str = 'cpu',
    ) -> None:
        """Build the network.

        Args:
            entry: of the catalogue.
            weights: a checkpoint or `'untrained'`.
            threads: CPU threads; None leaves PyTorch's setting, which is global.
            device: of PyTorch.
        """
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._network = build_network(entry, weights).to(self._device)
        self.facts = {'device': str(self._device), 'precision': 'float32'}
        self.spec = describe(entry, weights, self._network)

    def _tensor(self, x: NDArray) -> torch.Tensor:
        return torch.from_numpy(np.array(x)).to(self._device)

    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        spec = self.spec
        self._memories = torch.zeros(
            rows, memory_slots, spec.memory_tokens, spec.memory_dim, device=self._device
        )
        self._pointers = torch.zeros(rows, pointer_slots, spec.dim, device=self._device)

    @torch.inference_mode()
    def image_encoder(self, image: NDArray[np.uint8]) -> Features:
        raw, without_memory, *high_resolution = self._network.encode_image(
            self._tensor(image)[None]
        )
        return Features(raw, without_memory, tuple(high_resolution))

    @torch.inference_mode()
    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        # Slots nobody uses are left out, not masked: the official shapes while a bank fills.
        used = int(bank.memory_valid.sum(1).max())
        rows = self._tensor(bank.rows)[:, None]
        return self._network.attend_memory(
            features.raw,
            self._memories[rows, self._tensor(bank.memory_slots[:, :used])],
            self._tensor(bank.temporal_index[:, :used]),
            self._tensor(bank.memory_valid[:, :used]),
            self._pointers[rows, self._tensor(bank.pointer_slots)],
            self._tensor(bank.pointer_valid),
            pooled,
        )

    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        order = torch.from_numpy(np.argsort(np.concatenate(groups)))
        return torch.cat(parts)[order]

    def take(self, conditioned: Handle, index: int) -> Handle:
        return conditioned[index : index + 1]

    @torch.inference_mode()
    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        return Candidates(
            *(
                out.cpu().numpy()
                for out in self._network.decode_masks(
                    source, *(self._tensor(x) for x in prompts), *features.high_resolution
                )
            )
        )

    @torch.inference_mode()
    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        memory = self._network.encode_memory(
            features.raw, self._tensor(masks)[:, None], self._tensor(prompted)
        )
        return memory.bfloat16().float()

    @torch.inference_mode()
    def store(
        self,
        rows: list[int],
        memory_slots: list[int],
        pointer_slots: list[int],
        memories: Handle,
        pointers: Floats,
    ) -> None:
        self._memories[rows, memory_slots] = memories
        self._pointers[rows, pointer_slots] = self._tensor(pointers)

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        return self._memories[row].cpu().numpy().copy(), self._pointers[row].cpu().numpy().copy()

    @torch.inference_mode()
    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        self._memories[row] = self._tensor(memories)
        self._pointers[row] = self._tensor(pointers)
