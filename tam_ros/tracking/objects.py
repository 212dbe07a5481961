# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The objects of a tracker: their ids, their memories and their rows of the storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tam_ros.tracking.bank import MemoryBank
from tam_ros.tracking.plausibility import Confidences
from tam_ros.tracking.prompts import MAX_ID, PromptError


@dataclass(eq=False)
class ObjectMemory:
    """What the tracker stores of an object between images.

    Attributes:
        id: id of the object.
        row: row of the runtime's storage; rows are reused, ids are not.
        bank: says which image is in which slot of that row.
        born_index: index of the image the object was first prompted on.
        born_at: time of that image, seconds of the tracker's clock.
        seen_at: time of the last image the object was visible on, seconds of the tracker's clock.
        confidences: how sure the model was of its recent masks.
    """

    id: int
    row: int
    bank: MemoryBank
    born_index: int
    born_at: float
    seen_at: float
    confidences: Confidences = field(default_factory=lambda: Confidences(0))


@dataclass
class ObjectTable:
    """The live objects by id, and the ids that have been used.

    An id belongs to one object until the next reset. A row of the storage is reused once its
    object is removed.

    Attributes:
        rows: rows of the storage.
        live: objects by id.
        used: ids of the live and the removed objects.
        lowest_free: no id below this is free.
    """

    rows: int
    live: dict[int, ObjectMemory] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    lowest_free: int = 1

    def new_id(self, taken: set[int] | frozenset[int] = frozenset()) -> int:
        """Return the smallest id that has never been used and is not in `taken`.

        Raises:
            PromptError: all ids have been used.
        """
        while self.lowest_free in self.used:
            self.lowest_free += 1
        number = self.lowest_free
        while number in self.used or number in taken:
            number += 1
        if number > MAX_ID:
            raise PromptError(f'all {MAX_ID} object ids have been used; reset the tracker')
        return number

    def add(self, memory: ObjectMemory) -> None:
        """Add a live object, or replace the one with the same id."""
        self.live[memory.id] = memory
        self.used.add(memory.id)

    def free_rows(self, others: Iterable[int] = ()) -> Iterator[int]:
        """Yield the rows of the storage that neither a live object nor `others` use."""
        taken = {memory.row for memory in self.live.values()} | set(others)
        return (row for row in range(self.rows) if row not in taken)
