"""Memory bank policy of one object: which frame sits in which slot. The tensors are elsewhere.

Attention does not care for the order of memories, only for the temporal code of each, so a slot
is overwritten in place and nothing is ever moved (SAM 2 keeps growing lists instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUM_RECENT = 6  # frames t-1..t-6 give a memory: num_maskmem - 1
POINTER_REACH = 16  # frames up to 15 ago give a pointer: max_obj_ptrs_in_encoder


@dataclass(frozen=True)
class Entry:
    """A frame in a slot.

    Attributes:
        frame: index of the frame, counted in steps of the tracker.
        conditioning: whether it was prompted.
    """

    frame: int
    conditioning: bool


class BankView(NamedTuple):
    """What the bank offers to one frame, by slot.

    Attributes:
        temporal_index: int64 [S]; 6 for a conditioning frame, d - 1 for the frame d steps ago.
        memory_valid: float32 [S], 1 or 0.
        pointer_valid: float32 [P], 1 or 0.
    """

    temporal_index: NDArray[np.int64]
    memory_valid: NDArray[np.float32]
    pointer_valid: NDArray[np.float32]


class MemoryBank:
    """Slots of one object, with the selection rules of the official predictor run forward.

    All conditioning frames and the six most recent others give a memory; conditioning frames and
    the fifteen most recent others give an object pointer. When slots run out, the oldest recent
    frame goes; conditioning frames go only beyond ``max_conditioning``, and then the first and
    the newest of them stay, since the first is the user's own definition of the object.
    """

    def __init__(self, slots: int = 7, pointer_slots: int = 16, max_conditioning: int = 2) -> None:
        self.max_conditioning = max_conditioning
        self.memories: list[Entry | None] = [None] * slots
        self.pointers: list[Entry | None] = [None] * pointer_slots

    def slots_for(self, frame: int, conditioning: bool) -> tuple[int, int]:
        """Say where a frame will go: the memory slot and the pointer slot.

        A frame that is there already keeps its slots.
        """
        entry = Entry(frame, conditioning)
        return self._slot_for(self.memories, entry), self._slot_for(self.pointers, entry)

    def add(self, frame: int, conditioning: bool) -> None:
        """Enter a frame into the slots of ``slots_for``, over whatever is there."""
        memory, pointer = self.slots_for(frame, conditioning)
        self.memories[memory] = self.pointers[pointer] = Entry(frame, conditioning)

    def view(self, frame: int) -> BankView:
        """Describe what frame ``frame``, which is being tracked, may attend to."""
        memories = len(self.memories)
        temporal = np.zeros(memories, np.int64)
        memory_valid = np.zeros(memories, np.float32)
        pointer_valid = np.zeros(len(self.pointers), np.float32)
        for slot, entry in enumerate(self.memories):
            if entry is None:
                continue
            age = frame - entry.frame
            if entry.conditioning:
                temporal[slot], memory_valid[slot] = NUM_RECENT, 1
            elif 1 <= age <= NUM_RECENT:
                temporal[slot], memory_valid[slot] = age - 1, 1
        for slot, entry in enumerate(self.pointers):
            if entry is None:
                continue
            age = frame - entry.frame
            if age >= 0 if entry.conditioning else 1 <= age < POINTER_REACH:
                pointer_valid[slot] = 1
        return BankView(temporal, memory_valid, pointer_valid)

    def _slot_for(self, slots: list[Entry | None], entry: Entry) -> int:
        for slot, old in enumerate(slots):
            if old is not None and old.frame == entry.frame:
                return slot
        conditioning = sorted(
            (old.frame, slot) for slot, old in enumerate(slots)
            if old is not None and old.conditioning)
        if entry.conditioning and len(conditioning) >= self.max_conditioning:
            return conditioning[1 if len(conditioning) > 1 else 0][1]
        for slot, old in enumerate(slots):
            if old is None:
                return slot
        recent = [(old.frame, slot) for slot, old in enumerate(slots)
                  if old is not None and not old.conditioning]
        return min(recent)[1]
