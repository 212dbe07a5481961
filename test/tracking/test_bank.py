# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The slots of a bank: which frames are kept, attended to and overwritten."""

from __future__ import annotations

import json

import pytest

from tam_ros.tracking.bank import BankShape, MemoryBank


def frames_of(slots, chosen, valid):
    return sorted(slots[slot].frame for slot, ok in zip(chosen, valid, strict=True) if ok)


def memories(bank, *when, **how):
    view = bank.view(*when, **how)
    return frames_of(bank.memories, view.memory_slots, view.memory_valid)


def pointers(bank, *when, **how):
    view = bank.view(*when, **how)
    return frames_of(bank.pointers, view.pointer_slots, view.pointer_valid)


def filled(last, prompted=(0,), **shape):
    bank = MemoryBank(BankShape(**shape))
    for t in range(last + 1):
        bank.add(t, t in prompted)
    return bank


def test_the_first_tracked_frame_attends_to_the_prompted_one():
    view = filled(0).view()
    assert view.memory_valid.tolist() == [1] + [0] * 6
    assert view.temporal_index[0] == 6
    assert view.pointer_valid.sum() == 1


@pytest.mark.parametrize('history', [0, 20])
@pytest.mark.parametrize('now', [7, 8, 30, 1000])
def test_a_full_bank_selects_the_prompted_frame_and_the_last_six(now, history):
    bank = filled(now - 1, history=history)
    view = bank.view()
    assert memories(bank) == [0, *range(now - 6, now)]
    for slot, code in zip(view.memory_slots, view.temporal_index, strict=True):
        frame = bank.memories[slot].frame
        assert code == (6 if frame == 0 else now - frame - 1)
    assert pointers(bank) == [0, *range(max(1, now - 15), now)]
    assert (len(view.memory_slots), len(view.pointer_slots)) == (7, 16)
    assert (len(bank.memories), len(bank.pointers)) == (8 + history, 17 + history)


def test_valid_columns_come_first():
    view = filled(2).view()
    assert view.memory_valid.tolist() == [1] * 3 + [0] * 4
    assert view.pointer_valid.tolist() == [1] * 3 + [0] * 13


def test_memories_that_are_too_old_are_not_selected():
    bank = MemoryBank()
    bank.add(0, True, time=0)
    bank.add(1, False, time=1)
    assert memories(bank, 9) == [0]  # nothing was stored on frames 2..8
    assert pointers(bank, 9) == [0, 1]
    assert pointers(bank, 17) == [0]


def test_frames_that_are_not_stored_do_not_count_as_time():
    bank = filled(3)
    bank.add(90, False)
    assert memories(bank) == [0, 1, 2, 3, 90]
    assert sorted(bank.view().temporal_index[:5]) == [0, 1, 2, 3, 6]


def test_backwards_the_following_frames_are_recent_and_pointers_of_preceding_prompts_not_used():
    bank = MemoryBank(BankShape(memories=9, pointers=18, conditioning=3, history=20))
    for t in (0, 12, *range(11, 4, -1)):
        bank.add(t, t in (0, 12), time=t)
    assert memories(bank, 4, reverse=True) == [0, *range(5, 11), 12]
    assert pointers(bank, 4, reverse=True) == [*range(5, 12), 12]
    view = bank.view(4, reverse=True)
    codes = {
        bank.memories[slot].frame: code
        for slot, code, ok in zip(
            view.memory_slots, view.temporal_index, view.memory_valid, strict=True
        )
        if ok
    }
    assert codes == {0: 6, 12: 6, 5: 0, 6: 1, 7: 2, 8: 3, 9: 4, 10: 5}


def test_following_prompted_frames_give_memories_but_no_pointers():
    bank = MemoryBank(BankShape(memories=9, conditioning=3))
    for t in (0, 5, 10):
        bank.add(t, True, time=t)
    assert memories(bank, 1) == [0, 5, 10]
    assert pointers(bank, 1) == [0]


def test_the_first_and_the_newest_conditioning_frames_are_kept():
    bank = filled(100, prompted=(0, 20, 40, 60, 80))
    assert sorted(entry.frame for entry in bank.memories if entry.conditioning) == [0, 80]
    assert memories(bank) == [0, 80, *range(96, 101)]


def test_a_single_conditioning_frame_is_replaced_by_the_next():
    bank = MemoryBank(BankShape(conditioning=1))
    for t in range(21):
        bank.add(t, t in (0, 10))
    assert [entry.frame for entry in bank.memories if entry and entry.conditioning] == [10]


def test_a_frame_that_is_stored_again_keeps_its_slot():
    bank = filled(5)
    slots = bank.slots_for(5, False)
    bank.add(5, True)
    assert bank.slots_for(5, False) == slots
    assert sum(entry is not None for entry in bank.memories) == 6


def test_slots_are_overwritten_and_not_moved():
    bank = filled(40)
    before = list(bank.memories)
    slot, _ = bank.slots_for(41, False)
    assert bank.memories == before, 'slots_for changes nothing'
    bank.add(41, False)
    assert [i for i in range(8) if bank.memories[i] is not before[i]] == [slot]
    assert before[slot].frame == 34  # the oldest recent one


def test_a_past_bank_holds_what_the_bank_held_then():
    bank = filled(40, history=10)
    for t in (41, 36, 31):
        past = bank.before(t)
        assert memories(past) == memories(filled(t - 1, history=10))
        assert past.time == t
    assert bank.time == 41, 'the bank itself is not changed'


def test_a_withdrawn_prompt_is_an_ordinary_memory():
    bank = filled(3, prompted=(0, 2))
    bank.demote(2)
    assert not bank.entry(2).conditioning
    assert sorted(bank.view().temporal_index[:4]) == [0, 1, 2, 6]


@pytest.mark.parametrize('shape', [{}, {'history': 10}, {'memories': 9, 'conditioning': 3}])
def test_a_saved_bank_is_loaded_into_other_slots(shape):
    bank = filled(30, prompted=(0, 25), history=5)
    text = json.loads(json.dumps(bank.to_json()))
    again, memory_origin, pointer_origin = MemoryBank.from_json(text, BankShape(**shape))
    assert memories(again) == memories(bank) == [0, *range(25, 31)]
    assert pointers(again) == pointers(bank) == [0, *range(16, 31)]
    for slots, origin, old in (
        (again.memories, memory_origin, bank.memories),
        (again.pointers, pointer_origin, bank.pointers),
    ):
        assert [old[i] if i >= 0 else None for i in origin] == slots
    assert again.time == bank.time
