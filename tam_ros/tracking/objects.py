# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracked objects: their life inside the tracker, and what a frame says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from tam_ros.tracking.bank import MemoryBank
from tam_ros.tracking.prompts import MAX_ID, PromptError


class ObjectState(str, Enum):
    """Whether an object is seen."""

    VISIBLE = 'visible'
    OCCLUDED = 'occluded'  # the model says it is not in the picture, or its mask is empty
    LOST = 'lost'  # occluded for longer than the limit

    def __str__(self) -> str:
        """Return the plain word."""
        return self.value


@dataclass(frozen=True, eq=False)
class TrackedObject:
    """One object on one frame.

    Attributes:
        id: 1..65535, never reused within a run.
        state: see `ObjectState`.
        score: probability of the object being in the picture, 0..1.
        score_logit: the same as a logit; positive is present.
        mask: bool [H, W] of the image, not cut by other objects.
        logits: float32 [R/4, R/4], the network's mask before it is enlarged; -1024 if absent.
        box: (x0, y0, x1, y1) of the mask in pixels, x1 and y1 exclusive; None if it is empty.
        centroid: (x, y) of the mask in pixels; None if it is empty.
        area: pixels of the mask.
        age_frames: frames since the object was first prompted, 0 on that frame.
        age_seconds: the same in seconds of the images' stamps.
    """

    id: int
    state: ObjectState
    score: float
    score_logit: float
    mask: NDArray[np.bool_]
    logits: NDArray[np.float32]
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    area: int
    age_frames: int
    age_seconds: float


@dataclass(eq=False)
class ObjectMemory:
    """What the tracker keeps of an object between frames.

    Attributes:
        id: of the object.
        row: its row in the runtime's storage; rows are reused, ids are not.
        bank: which frame sits in which slot of that row.
        born_index: of the frame it was first prompted on.
        born_at: the same in seconds of the tracker's clock.
        seen_at: when it was last seen, seconds of the tracker's clock.
    """

    id: int
    row: int
    bank: MemoryBank
    born_index: int
    born_at: float
    seen_at: float


@dataclass
class ObjectTable:
    """Live objects by id, rows of the storage, and the ids that may not come back.

    Ids are immutable; rows are positions in the storage and are handed on when an object goes.
    """

    rows: int
    live: dict[int, ObjectMemory] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    lowest_free: int = 1

    def new_id(self, taken: set[int] | frozenset[int] = frozenset()) -> int:
        """Return the smallest id that was never used and is not in `taken`.

        Raises:
            PromptError: all ids are used up.
        """
        while self.lowest_free in self.used:
            self.lowest_free += 1
        number = self.lowest_free
        while number in self.used or number in taken:
            number += 1
        if number > MAX_ID:
            raise PromptError(f'all {MAX_ID} object ids have been used; reset the tracker')
        return number

    def enter(self, memory: ObjectMemory) -> None:
        """Add a live object."""
        self.live[memory.id] = memory
        self.used.add(memory.id)

    def free_rows(self, others: Iterable[int] = ()) -> Iterator[int]:
        """Yield the rows of the storage that neither a live object nor `others` own."""
        taken = {memory.row for memory in self.live.values()} | set(others)
        return (row for row in range(self.rows) if row not in taken)
