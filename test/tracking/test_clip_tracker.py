# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a recording in any order, with a fake runtime instead of a network."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.tracking import ClipTracker, FrameError, Prompt, PromptError, TrackerOptions
from tracking.fake_runtime import FakeRuntime

IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def runtime():
    return FakeRuntime()


def click(number, x=20, y=20, label=1, **more):
    return Prompt.points(number, [(x, y)], [label], **more)


def opened(runtime, **options):
    return ClipTracker(runtime, TrackerOptions(max_objects=3, **options))


def codes(runtime, row=0):
    bank = runtime.banks[-1]
    return sorted(bank.temporal_index[row][bank.memory_valid[row] > 0].tolist())


def test_all_frames_attend_to_the_prompted_ones_which_keep_their_masks(runtime):
    tracker = opened(runtime)
    tracker.prompt(0, IMAGE, [click(1)])
    tracker.prompt(5, IMAGE, [click(1, x=50)])
    frames = [tracker.step(i, IMAGE) for i in range(8)]
    assert [round(frame.objects[0].centroid[0] / 10) for frame in (frames[0], frames[5])] == [2, 5]
    assert frames[5].objects[0].state == 'visible' and frames[5].objects[0].mask[20, 50]
    assert len(runtime.banks) == 6, 'prompted frames are not tracked'
    assert runtime.banks[0].memory_valid[0].sum() == 2, 'frame 1 attends to the memory of frame 5'
    assert runtime.banks[0].pointer_valid[0].sum() == 1, 'but not to its pointer'
    assert codes(runtime) == [0, 2, 3, 4, 5, 6, 6]


def test_backwards(runtime):
    tracker = opened(runtime)
    tracker.prompt(9, IMAGE, [click(1)])
    ages = [tracker.step(i, IMAGE, reverse=True).objects[0].age_frames for i in range(9, -1, -1)]
    assert ages == [0, -1, -2, -3, -4, -5, -6, -7, -8, -9]
    assert codes(runtime) == [0, 1, 2, 3, 4, 5, 6]


def test_clicks_on_one_frame_are_applied_together_before_and_after_tracking(runtime):
    tracker = opened(runtime)
    tracker.prompt(0, IMAGE, [click(1)])
    tracker.prompt(0, IMAGE, [click(1, x=24, label=0)])
    assert runtime.prompts[-1].labels[0, :3].tolist() == [1, 0, -1]
    tracker.step(0, IMAGE)
    tracker.step(1, IMAGE)
    runtime.calls.clear()
    tracker.prompt(0, IMAGE, [click(1, x=28)])
    assert runtime.prompts[-1].labels[0, :4].tolist() == [1, 0, 1, -1]
    assert 'memory_attention' in dict(runtime.calls)


def test_a_refined_frame_keeps_its_mask(runtime):
    tracker = opened(runtime)
    tracker.prompt(0, IMAGE, [click(1)])
    for i in range(6):
        tracker.step(i, IMAGE)
    tracker.prompt(3, IMAGE, [click(1, x=50)])
    again = [tracker.step(i, IMAGE) for i in range(3, 6)]
    assert again[0].objects[0].mask[20, 50]
    assert codes(runtime).count(6) == 2


def test_a_frame_whose_prompt_was_withdrawn_is_tracked(runtime):
    tracker = opened(runtime)
    tracker.prompt(0, IMAGE, [click(1)])
    tracker.prompt(2, IMAGE, [click(1, x=50)])
    tracker.clear(2, 1)
    runtime.banks.clear()
    for i in range(4):
        tracker.step(i, IMAGE)
    assert len(runtime.banks) == 3 and codes(runtime) == [0, 1, 6]
    assert runtime.banks[0].memory_valid.sum() == 1, 'frame 1 does not attend to frame 2 any more'
    with pytest.raises(PromptError, match='was not prompted on frame 2'):
        tracker.clear(2, 1)
    with pytest.raises(PromptError, match='the only prompt'):
        tracker.clear(0, 1)


def test_replacing_deletes_every_other_prompt(runtime):
    tracker = opened(runtime)
    tracker.prompt(0, IMAGE, [click(1)])
    tracker.step(0, IMAGE)
    tracker.prompt(4, IMAGE, [click(1, x=50, replace=True)])
    tracker.step(5, IMAGE)
    assert codes(runtime) == [6] and tracker.objects == (1,)


def test_a_frame_is_encoded_once_for_several_prompts_and_objects(runtime):
    tracker = opened(runtime)
    frame = tracker.prompt(0, IMAGE, [click(0), click(0, x=50)])
    tracker.prompt(0, IMAGE, [click(1, x=22)])
    assert [item.id for item in frame.objects] == [1, 2]
    assert runtime.calls.count(('image_encoder', 1)) == 1


@pytest.mark.parametrize(
    ('prompts', 'message'),
    [
        ([click(1, x=70)], 'outside'),
        ([click(n) for n in range(1, 5)], 'limit of 3'),
        ([click(1)] * 8, '8 points for object 1 on frame 0; the limit is 7'),
    ],
)
def test_refused_prompts(runtime, prompts, message):
    tracker = opened(runtime)
    with pytest.raises(PromptError, match=message):
        tracker.prompt(0, IMAGE, prompts)
    assert tracker.objects == () and runtime.calls == []


def test_check_refuses_what_prompt_refuses_and_changes_nothing(runtime):
    tracker = opened(runtime)
    tracker.check(click(1), (48, 64))
    with pytest.raises(PromptError, match='outside the image 64x48'):
        tracker.check(click(1, x=64), (48, 64))
    with pytest.raises(PromptError, match='8 points for object 1 on one image'):
        tracker.check(Prompt.points(1, [(2, 2)] * 8, [1] * 8), (48, 64))
    assert tracker.objects == () and not runtime.calls


def test_a_refused_prompt_does_not_fix_the_image_size(runtime):
    tracker = opened(runtime)
    with pytest.raises(PromptError, match='outside'):
        tracker.prompt(0, IMAGE, [click(1, x=70)])
    assert tracker.prompt(0, IMAGE[::2, ::2], [click(1)]).labels.shape == (24, 32)


def test_each_result_has_the_times_of_its_own_step(runtime):
    tracker = opened(runtime)
    prompted = tracker.prompt(0, IMAGE, [click(1)]).stage_seconds
    assert set(prompted) == {'resize', 'image_encoder', 'prompts', 'memory_encoder', 'masks'}
    before = dict(prompted)
    assert set(tracker.step(0, IMAGE).stage_seconds) == {'masks'}, 'the mask is that of the prompt'
    tracked = tracker.step(1, IMAGE).stage_seconds
    assert {'memory_attention', 'mask_decoder'} <= set(tracked)
    assert prompted == before, 'later steps do not change earlier results'


def test_a_with_block_closes_the_runtime(runtime):
    with ClipTracker(runtime) as tracker:
        tracker.prompt(0, IMAGE, [click(1)])
        assert not runtime.closed
    assert runtime.closed


def test_frames_of_another_size_are_refused(runtime):
    tracker = opened(runtime)
    tracker.prompt(0, IMAGE, [click(1)])
    with pytest.raises(FrameError, match='32x24'):
        tracker.step(1, IMAGE[::2, ::2])
