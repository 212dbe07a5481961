"""The bank's slots: what is kept, what goes, and that it never grows."""

from __future__ import annotations

import pytest

from tam_ros.tracking.bank import MemoryBank


def frames(bank, what, valid):
    return sorted(entry.frame for entry, ok in zip(getattr(bank, what), valid, strict=True) if ok)


def filled(last, conditioning=(0,), **sizes):
    bank = MemoryBank(**sizes)
    for t in range(last + 1):
        bank.add(t, t in conditioning)
    return bank


def test_first_tracked_frame_sees_the_prompted_one_with_its_own_temporal_code():
    view = filled(0).view(1)
    assert view.memory_valid.tolist() == [1] + [0] * 6
    assert view.temporal_index[0] == 6
    assert view.pointer_valid.sum() == 1


@pytest.mark.parametrize('now', [7, 8, 30, 1000])
def test_full_bank_holds_the_prompted_frame_and_the_last_six(now):
    bank = filled(now - 1)
    view = bank.view(now)
    assert frames(bank, 'memories', view.memory_valid) == [0, *range(now - 6, now)]
    for slot, entry in enumerate(bank.memories):
        expected = 6 if entry.frame == 0 else now - entry.frame - 1
        assert view.temporal_index[slot] == expected
    first = max(1, now - 15)
    assert frames(bank, 'pointers', view.pointer_valid) == [0, *range(first, now)]
    assert len(bank.memories) == 7 and len(bank.pointers) == 16


def test_memories_that_are_too_old_are_not_shown():
    bank = MemoryBank()
    bank.add(0, True)
    bank.add(1, False)
    view = bank.view(9)  # nothing was stored on frames 2..8
    assert frames(bank, 'memories', view.memory_valid) == [0]
    assert frames(bank, 'pointers', view.pointer_valid) == [0, 1]
    assert frames(bank, 'pointers', bank.view(17).pointer_valid) == [0]


def test_first_and_newest_conditioning_frames_stay():
    bank = filled(100, conditioning=(0, 20, 40, 60, 80), max_conditioning=3)
    kept = sorted(entry.frame for entry in bank.memories if entry.conditioning)
    assert kept == [0, 60, 80]
    assert sum(not entry.conditioning for entry in bank.memories) == 4


def test_one_conditioning_frame_at_most_makes_way_for_the_next():
    bank = filled(20, conditioning=(0, 10), max_conditioning=1)
    assert [entry.frame for entry in bank.memories if entry.conditioning] == [10]


def test_a_frame_stored_again_takes_its_own_slot():
    bank = filled(5)
    slots = bank.slots_for(5, False)
    bank.add(5, True)
    assert bank.slots_for(5, False) == slots
    assert sum(entry is not None for entry in bank.memories) == 6


def test_slots_are_overwritten_not_moved():
    bank = filled(40)
    before = list(bank.memories)
    slot, _ = bank.slots_for(41, False)
    assert bank.memories == before, 'asking changes nothing'
    bank.add(41, False)
    assert [i for i in range(7) if bank.memories[i] is not before[i]] == [slot]
    assert before[slot].frame == 35  # the oldest recent one went
