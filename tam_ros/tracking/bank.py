# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Memory bank of one object: which frame sits in which slot, and which slots a frame looks at.

The tensors are elsewhere. Attention does not care for the order of memories, only for the
temporal code of each, so a slot is overwritten in place and nothing is ever moved (SAM 2 keeps
growing lists instead).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUM_RECENT = 6  # frames t-1..t-6 give a memory: num_maskmem - 1
POINTER_REACH = 16  # frames up to 15 ago give a pointer: max_obj_ptrs_in_encoder


@dataclass(frozen=True)
class BankShape:
    """How much a bank keeps, and how much of it one frame may look at.

    Attributes:
        memories: S, memories the attention takes.
        pointers: P, object pointers it takes.
        conditioning: conditioning frames kept.
        history: frames further back that are kept for a prompt on a past image.
    """

    memories: int = 7
    pointers: int = 16
    conditioning: int = 2
    history: int = 0

    @property
    def memory_slots(self) -> int:
        """Memories kept."""
        return self.conditioning + NUM_RECENT + self.history

    @property
    def pointer_slots(self) -> int:
        """Pointers kept."""
        return self.conditioning + POINTER_REACH - 1 + self.history


@dataclass(frozen=True)
class Entry:
    """A frame in a slot.

    Attributes:
        frame: index of the frame.
        time: of the object's own clock, which stands still on frames that left no memory.
        conditioning: whether it was prompted.
    """

    frame: int
    time: int
    conditioning: bool


class BankView(NamedTuple):
    """What one frame may look at. Only the first columns are used, as far as they are valid.

    Attributes:
        memory_slots: int64 [S].
        temporal_index: int64 [S]; 6 for a conditioning frame, d - 1 for the frame d steps ago.
        memory_valid: float32 [S], 1 or 0.
        pointer_slots: int64 [P].
        pointer_valid: float32 [P], 1 or 0.
    """

    memory_slots: NDArray[np.int64]
    temporal_index: NDArray[np.int64]
    memory_valid: NDArray[np.float32]
    pointer_slots: NDArray[np.int64]
    pointer_valid: NDArray[np.float32]


Slots = list['Entry | None']


class MemoryBank:
    """Slots of one object, with the selection rules of the official predictor.

    All conditioning frames and the six most recent others give a memory; conditioning frames and
    the fifteen most recent others give an object pointer. Conditioning frames go only beyond
    `shape.conditioning`, and then the first and the newest of them stay, since the first is
    the user's own definition of the object.
    """

    def __init__(self, shape: BankShape | None = None) -> None:
        self.shape = shape or BankShape()
        self.memories: Slots = [None] * self.shape.memory_slots
        self.pointers: Slots = [None] * self.shape.pointer_slots

    @property
    def time(self) -> int:
        """Time of the object on its next frame: one later than its newest entry."""
        return 1 + max((entry.time for entry in self.pointers if entry is not None), default=-1)

    def slots_for(self, frame: int, conditioning: bool) -> tuple[int, int]:
        """Say where a frame will go: the memory slot and the pointer slot.

        A frame that is there already keeps its slots.
        """
        return (
            self._slot_for(self.memories, frame, conditioning),
            self._slot_for(self.pointers, frame, conditioning),
        )

    def add(self, frame: int, conditioning: bool, time: int | None = None) -> None:
        """Enter a frame into the slots of `slots_for`, over whatever is there.

        Args:
            frame: its index.
            conditioning: whether it was prompted.
            time: see `Entry`; None: the next one.
        """
        entry = Entry(frame, self.time if time is None else time, conditioning)
        memory, pointer = self.slots_for(frame, conditioning)
        self.memories[memory] = self.pointers[pointer] = entry

    def holds(self, frame: int) -> Entry | None:
        """Return the entry of a frame, if its memory is kept."""
        return next((entry for entry in self.memories if entry and entry.frame == frame), None)

    def until(self, frame: int) -> MemoryBank:
        """Return the bank as it was before a frame, as far as that is kept; slots stay."""
        past = MemoryBank(self.shape)
        for mine, others in ((past.memories, self.memories), (past.pointers, self.pointers)):
            mine[:] = [entry if entry and entry.frame < frame else None for entry in others]
        return past

    def demote(self, frame: int) -> None:
        """Make a conditioning frame an ordinary one."""
        for slots in (self.memories, self.pointers):
            slots[:] = [
                Entry(entry.frame, entry.time, False) if entry and entry.frame == frame else entry
                for entry in slots
            ]

    def view(self, time: int | None = None, reverse: bool = False) -> BankView:
        """Describe what a frame that is being tracked may look at.

        Args:
            time: of the frame; None: the next one.
            reverse: the frames that lie ahead count as recent, not those that lie behind.
        """
        now = self.time if time is None else time
        way = -1 if reverse else 1
        shape = self.shape
        memory_slots, temporal, memory_valid = _columns(shape.memories)
        chosen = self._select(self.memories, now, way, NUM_RECENT, None)[: shape.memories]
        for column, (slot, entry) in enumerate(chosen):
            code = NUM_RECENT if entry.conditioning else way * (now - entry.time) - 1
            memory_slots[column], temporal[column], memory_valid[column] = slot, code, 1
        pointer_slots, _, pointer_valid = _columns(shape.pointers)
        chosen = self._select(self.pointers, now, way, POINTER_REACH - 1, 0)[: shape.pointers]
        for column, (slot, _) in enumerate(chosen):
            pointer_slots[column], pointer_valid[column] = slot, 1
        return BankView(memory_slots, temporal, memory_valid, pointer_slots, pointer_valid)

    def to_json(self) -> dict:
        """Describe the bank with plain values."""
        return {
            name: [asdict(entry) if entry else None for entry in slots]
            for name, slots in (('memories', self.memories), ('pointers', self.pointers))
        }

    @classmethod
    def from_json(cls, values: dict, shape: BankShape) -> tuple[MemoryBank, list[int], list[int]]:
        """Read what `to_json` wrote into a bank that may have other slots.

        Returns:
            The bank, and for each of its memory and pointer slots the old slot that belongs
            there, -1 if none.
        """
        bank = cls(shape)
        origins = []
        for slots, old in (
            (bank.memories, values['memories']),
            (bank.pointers, values['pointers']),
        ):
            kept = sorted(
                ((Entry(**entry), slot) for slot, entry in enumerate(old) if entry),
                key=lambda pair: pair[0].time,
            )
            origin = [-1] * len(slots)
            for entry, slot in kept:
                new = bank._slot_for(slots, entry.frame, entry.conditioning)
                slots[new], origin[new] = entry, slot
            origins.append(origin)
        return bank, *origins

    @staticmethod
    def _select(
        slots: Slots, now: int, way: int, reach: int, conditioning_from: int | None
    ) -> list[tuple[int, Entry]]:
        """Return slots and entries to look at: conditioning frames, then the newest others."""
        conditioning, recent = [], []
        for slot, entry in enumerate(slots):
            if entry is None:
                continue
            age = way * (now - entry.time)
            if entry.conditioning:
                if conditioning_from is None or age >= conditioning_from:
                    conditioning.append((entry.time, slot, entry))
            elif 1 <= age <= reach:
                recent.append((age, slot, entry))
        return [
            (slot, entry)
            for _, slot, entry in sorted(conditioning, key=lambda x: x[:2])
            + sorted(recent, key=lambda x: x[:2])
        ]

    def _slot_for(self, slots: Slots, frame: int, conditioning: bool) -> int:
        for slot, old in enumerate(slots):
            if old is not None and old.frame == frame:
                return slot
        kept = sorted(
            (old.frame, slot)
            for slot, old in enumerate(slots)
            if old is not None and old.conditioning
        )
        if conditioning and len(kept) >= self.shape.conditioning:
            return kept[1 if len(kept) > 1 else 0][1]
        for slot, old in enumerate(slots):
            if old is None:
                return slot
        # The farthest: the oldest one, unless time runs backwards.
        return max(
            (abs(frame - old.frame), slot)
            for slot, old in enumerate(slots)
            if old is not None and not old.conditioning
        )[1]


def _columns(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    return np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.float32)
