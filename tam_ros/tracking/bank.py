# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Memory bank of one object: which frame is in which slot, and which slots a frame attends to.

The tensors are in the runtime's storage. Memory attention depends on the temporal index of each
memory and not on their order, so slots are overwritten in place and memories are never moved,
where SAM 2 appends to growing lists.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# `num_maskmem - 1` of SAM 2: frames t-1..t-6 are attended to as recent memories.
NUM_RECENT = 6
# `max_obj_ptrs_in_encoder` of SAM 2: object pointers of up to 15 frames ago are attended to.
POINTER_REACH = 16


@dataclass(frozen=True)
class BankShape:
    """The size of a bank, and how much of it one frame attends to.

    Attributes:
        memories: S, memories that the attention takes.
        pointers: P, object pointers that the attention takes.
        conditioning: conditioning frames kept.
        history: additional past frames kept for late prompts.
    """

    memories: int = 7
    pointers: int = 16
    conditioning: int = 2
    history: int = 0

    @property
    def memory_slots(self) -> int:
        """Number of memories kept."""
        return self.conditioning + NUM_RECENT + self.history

    @property
    def pointer_slots(self) -> int:
        """Number of object pointers kept."""
        return self.conditioning + POINTER_REACH - 1 + self.history


@dataclass(frozen=True)
class Entry:
    """A frame in a slot.

    Attributes:
        frame: index of the frame.
        time: number of the frame among the stored frames of the object: frames that were not
            stored do not count.
        conditioning: whether it is a conditioning frame, in general one that was prompted.
    """

    frame: int
    time: int
    conditioning: bool


class BankView(NamedTuple):
    """The slots that one frame attends to. The valid columns come first.

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
    """The slots of one object, with the selection rules of the official predictor.

    A frame attends to the memories of all conditioning frames and of the six most recent other
    frames, and to the object pointers of all conditioning frames and of the fifteen most recent
    other frames. At most `shape.conditioning` conditioning frames are kept: the first one, which
    defines the object, and the newest ones.
    """

    def __init__(self, shape: BankShape | None = None) -> None:
        self.shape = shape or BankShape()
        self.memories: Slots = [None] * self.shape.memory_slots
        self.pointers: Slots = [None] * self.shape.pointer_slots

    @property
    def time(self) -> int:
        """Time of the next frame: one later than the newest entry."""
        return 1 + max((entry.time for entry in self.pointers if entry is not None), default=-1)

    def slots_for(self, frame: int, conditioning: bool) -> tuple[int, int]:
        """Return the memory slot and the pointer slot that a frame will be stored in.

        A frame that is already stored keeps its slots.
        """
        return (
            self._slot_for(self.memories, frame, conditioning),
            self._slot_for(self.pointers, frame, conditioning),
        )

    def add(self, frame: int, conditioning: bool, time: int | None = None) -> None:
        """Enter a frame into the slots that `slots_for` returns, overwriting their entries.

        Args:
            frame: index of the frame.
            conditioning: whether it is a conditioning frame.
            time: see `Entry`; None: that of the next frame.
        """
        entry = Entry(frame, self.time if time is None else time, conditioning)
        memory, pointer = self.slots_for(frame, conditioning)
        self.memories[memory] = self.pointers[pointer] = entry

    def entry(self, frame: int) -> Entry | None:
        """Return the entry of a frame; None if its memory is not kept."""
        return next((entry for entry in self.memories if entry and entry.frame == frame), None)

    def before(self, frame: int) -> MemoryBank:
        """Return a copy with the entries of the frames before `frame`, in the same slots."""
        past = MemoryBank(self.shape)
        for slots, entries in (
            (past.memories, self.memories),
            (past.pointers, self.pointers),
        ):
            slots[:] = [entry if entry and entry.frame < frame else None for entry in entries]
        return past

    def demote(self, frame: int) -> None:
        """Turn a conditioning frame into an ordinary one."""
        for slots in (self.memories, self.pointers):
            slots[:] = [
                Entry(entry.frame, entry.time, False) if entry and entry.frame == frame else entry
                for entry in slots
            ]

    def view(self, time: int | None = None, reverse: bool = False) -> BankView:
        """Select the slots that a frame attends to while it is tracked.

        Args:
            time: time of the frame; None: that of the next frame.
            reverse: whether tracking runs backwards: following frames count as recent, not
                preceding ones.
        """
        now = self.time if time is None else time
        direction = -1 if reverse else 1
        shape = self.shape
        memory_slots, temporal, memory_valid = _columns(shape.memories)
        chosen = self._select(self.memories, now, direction, NUM_RECENT, None)[: shape.memories]
        for column, (slot, entry) in enumerate(chosen):
            code = NUM_RECENT if entry.conditioning else direction * (now - entry.time) - 1
            memory_slots[column], temporal[column], memory_valid[column] = slot, code, 1
        pointer_slots, _, pointer_valid = _columns(shape.pointers)
        chosen = self._select(self.pointers, now, direction, POINTER_REACH - 1, 0)[
            : shape.pointers
        ]
        for column, (slot, _) in enumerate(chosen):
            pointer_slots[column], pointer_valid[column] = slot, 1
        return BankView(memory_slots, temporal, memory_valid, pointer_slots, pointer_valid)

    def to_json(self) -> dict[str, Any]:
        """Return the entries as JSON values."""
        return {
            name: [asdict(entry) if entry else None for entry in slots]
            for name, slots in (('memories', self.memories), ('pointers', self.pointers))
        }

    @classmethod
    def from_json(
        cls, values: dict[str, Any], shape: BankShape
    ) -> tuple[MemoryBank, list[int], list[int]]:
        """Create a bank from the values of `to_json`; its shape may differ from the saved one.

        Returns:
            The bank, and for each of its memory slots and pointer slots the saved slot whose
            tensor belongs there, -1 if none.
        """
        bank = cls(shape)
        origins: list[list[int]] = []
        for slots, saved in (
            (bank.memories, values['memories']),
            (bank.pointers, values['pointers']),
        ):
            kept = sorted(
                ((Entry(**entry), slot) for slot, entry in enumerate(saved) if entry),
                key=lambda pair: pair[0].time,
            )
            origin = [-1] * len(slots)
            for entry, slot in kept:
                new = bank._slot_for(slots, entry.frame, entry.conditioning)
                slots[new], origin[new] = entry, slot
            origins.append(origin)
        memory_origins, pointer_origins = origins
        return bank, memory_origins, pointer_origins

    @staticmethod
    def _select(
        slots: Slots, now: int, direction: int, reach: int, conditioning_from: int | None
    ) -> list[tuple[int, Entry]]:
        """Return the slots and entries to attend to: conditioning frames, then recent ones.

        Args:
            slots: slots of the memories or of the pointers.
            now: time of the frame that is tracked.
            direction: 1 forwards, -1 backwards.
            reach: age of the oldest recent frame.
            conditioning_from: age of the newest conditioning frame; None: of any age, also
                following ones.
        """
        conditioning, recent = [], []
        for slot, entry in enumerate(slots):
            if entry is None:
                continue
            age = direction * (now - entry.time)
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
        # The most distant one: the oldest, unless tracking runs backwards.
        return max(
            (abs(frame - old.frame), slot)
            for slot, old in enumerate(slots)
            if old is not None and not old.conditioning
        )[1]


def _columns(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    return np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.float32)
