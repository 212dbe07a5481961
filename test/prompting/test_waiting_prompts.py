# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts that wait: their order, and the memory of their masks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tam_ros.prompting.waiting_prompts import MAX_MASK_BYTES, WaitingPrompts
from tam_ros.tracking import Prompt, PromptError

LARGE = (3000, 4000)


def mask(shape=(5, 7), value=True):
    made = np.zeros(shape, bool)
    made[1:3, 2:6] = value
    return made


def large(object_id=1, **fields):
    made = np.zeros(LARGE, bool)
    made[0, 0] = True
    return Prompt.mask(object_id, made, **fields)


def click(object_id=1):
    return Prompt.points(object_id, [(3, 4)], [1])


@pytest.fixture
def waiting():
    return WaitingPrompts()


@pytest.mark.parametrize('shape', [(5, 7), (8, 8), (1, 9)])
def test_masks_come_back_as_they_were(waiting, shape):
    made = np.random.default_rng(0).random(shape) > 0.5
    made[0, 0] = True
    prompt = Prompt.mask(3, made, replace=True, stamp=2.0)
    waiting.add(prompt, 7)
    (due,) = waiting.take_due(7)
    again = due.prompt
    assert (again.object_id, again.replace, again.stamp) == (3, True, 2.0)
    assert again.mask_image.dtype == bool
    assert np.array_equal(again.mask_image, made)
    assert len(waiting) == 0


def test_the_newest_mask_of_an_object_on_an_image_replaces_what_waits_for_it(waiting):
    waiting.add(Prompt.mask(1, mask(), replace=True), 0)
    waiting.add(click(1), 0)
    waiting.add(click(2), 0)
    waiting.add(Prompt.mask(1, mask()), 5)  # for another image
    waiting.add(Prompt.mask(1, ~mask()), 0)
    due = waiting.take_due(5)
    assert [(item.object_id, item.stamp_ns) for item in due] == [(2, 0), (1, 5), (1, 0)]
    assert np.array_equal(due[-1].prompt.mask_image, ~mask())
    assert due[-1].prompt.replace, 'an earlier prompt begins the object again'


def test_many_masks_for_one_object_take_the_memory_of_one(waiting):
    tracemalloc.start()
    try:
        for _ in range(40):
            waiting.add(large(), 0)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    pixels = LARGE[0] * LARGE[1]
    assert len(waiting) == 1
    assert waiting.mask_bytes == pixels // 8
    assert kept < pixels / 4
    assert peak < 5 * pixels


def test_the_memory_of_all_masks_is_limited(waiting):
    each = LARGE[0] * LARGE[1] // 8
    fit = MAX_MASK_BYTES // each
    for number in range(1, fit + 1):
        waiting.add(large(number), 0)
    with pytest.raises(PromptError, match=r'would take 18\.0 MB; the limit is 16\.8 MB'):
        waiting.add(large(fit + 1), 0)
    assert (len(waiting), waiting.mask_bytes) == (fit, fit * each)
    waiting.add(click(fit + 1), 0)
    waiting.add(large(fit), 0)  # in place of the one before
    assert waiting.remove(1)
    waiting.add(large(fit + 1), 0)


def test_prompts_that_were_due_can_wait_again(waiting):
    waiting.add(Prompt.mask(1, mask()), 1)
    waiting.add(click(2), 2)
    waiting.put_back(waiting.take_due(1))
    assert waiting.mask_bytes == 5
    due = waiting.take_due(2)
    assert [item.object_id for item in due] == [1, 2]
    assert np.array_equal(due[0].prompt.mask_image, mask())
