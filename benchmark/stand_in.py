# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node with a model of known cost: `python -m benchmark.stand_in --ros-args ...`.

Everything but the network is the real node. The network sleeps for a given time, as a CPU that
waits for a GPU, and returns a disc where it was clicked. The rest of the time per image is the
node's own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.model_files import TrackerSpec
from tam_ros.runtime.base import (
    BankRows,
    Candidates,
    Features,
    Floats,
    Handle,
    PromptTokens,
    Runtime,
)
from tam_ros.tracking import Tracker, TrackerOptions

SIDE = 512
COST_MS = 'TAM_STAND_IN_MS'
"""Environment variable: duration of the model per image, milliseconds."""

_CENTRE = slice(0, 2)  # elements of a pointer: centre of the disc, low-resolution mask pixels


class StandIn(Runtime):
    """Returns discs after a given time.

    Memories are a few zeros; an object pointer holds the centre of its disc.
    """

    name = 'stand-in'
    spec = TrackerSpec(
        name='stand-in',
        weights='none',
        fingerprint='stand-in',
        image_size=SIDE,
        dim=8,
        memory_tokens=4,
        memory_dim=4,
        slots=7,
        pointer_slots=16,
        point_tokens=16,
        pooled=False,
        dense_prompt_prior=False,
        mask_downsample_weight=(1 / 16,) * 16,
        mask_downsample_bias=0.0,
    )

    def __init__(self, cost_s: float) -> None:
        """Set the duration per image, seconds."""
        self._cost_s = cost_s
        size = self.spec.mask_size
        self._y, self._x = np.mgrid[:size, :size].astype(np.float32)

    def allocate(self, rows: int, memory_slots: int, pointer_slots: int, images: int = 1) -> None:
        """Allocate small arrays."""
        spec = self.spec
        self._memories = np.zeros((rows, memory_slots, spec.memory_tokens, spec.memory_dim), 'f4')
        self._pointers = np.zeros((rows, pointer_slots, spec.dim), 'f4')

    def image_encoder(self, image: NDArray[np.uint8] | Floats) -> Features:
        """Sleep; the features are placeholders."""
        time.sleep(self._cost_s)
        return Features('raw', 'without memory')

    def _attend(self, features: Features, bank: BankRows, pooled: bool) -> Handle:
        return self._pointers[bank.rows, bank.pointer_slots[:, 0]]

    def _merge(self, groups: list[NDArray[np.intp]], parts: list[Handle]) -> Handle:
        raise AssertionError('the stand-in is not pooled')

    def select_object(self, conditioned: Handle, index: int) -> Handle:
        """Return the pointer of one object."""
        return conditioned[index : index + 1]

    def mask_decoder(
        self, features: Features, source: Handle, prompts: PromptTokens
    ) -> Candidates:
        """Draw a disc for each object: where it was prompted, or where it was before."""
        objects, size = len(prompts.labels), self.spec.mask_size
        centres = np.full((objects, 2), size / 2, np.float32)
        if not isinstance(source, str):
            centres = source[:, _CENTRE].copy()
        for number, (points, labels) in enumerate(
            zip(prompts.points, prompts.labels, strict=True)
        ):
            if (labels > 0).any():
                centres[number] = points[labels > 0].mean(0) / 4
        away = np.hypot(self._x - centres[:, 0, None, None], self._y - centres[:, 1, None, None])
        masks = np.repeat((size / 10 - away)[:, None], 4, 1)
        pointers = np.zeros((objects, 4, self.spec.dim), np.float32)
        pointers[..., _CENTRE] = centres[:, None]
        scores = np.full((objects, 1), 3, np.float32)
        return Candidates(masks, np.ones((objects, 4), np.float32), scores, pointers)

    def memory_encoder(self, features: Features, masks: Floats, prompted: Floats) -> Handle:
        """Return zeros."""
        return np.zeros((len(masks), self.spec.memory_tokens, self.spec.memory_dim), np.float32)

    def store(
        self,
        rows: list[int],
        memory_slots: list[int],
        pointer_slots: list[int],
        memories: Handle,
        pointers: Floats,
    ) -> None:
        """Write a frame."""
        self._memories[rows, memory_slots] = memories
        self._pointers[rows, pointer_slots] = pointers

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        """Copy a row."""
        return self._memories[row].copy(), self._pointers[row].copy()

    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        """Overwrite a row."""
        self._memories[row], self._pointers[row] = memories, pointers


def cost_s() -> float:
    """Return the duration of the model per image, seconds, from the environment."""
    return float(os.environ.get(COST_MS, 20)) / 1e3


def open_stand_in(
    model: str,
    weights: str | Path | None = None,
    runtime: str = 'stand-in',
    *,
    options: TrackerOptions | None = None,
    **_: Any,
) -> Tracker:
    """Open a tracker with the stand-in, with the signature of `Tracker.open`."""
    return Tracker(StandIn(cost_s()), options)


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is interrupted."""
    from tam_ros.ros.track_node import main as run_node

    return run_node(arguments, open_tracker=open_stand_in)


if __name__ == '__main__':
    sys.exit(main())
