# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Late prompts: after the replay, the masks are those of a prompt that arrived in time."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.tracking import FrameError, Prompt, PromptError, Tracker, TrackerOptions
from tam_ros.tracking.late_prompts import SPARE_ROWS
from tracking.fake_runtime import FakeRuntime

IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def runtime():
    return FakeRuntime()


def opened(runtime, **options):
    return Tracker(
        runtime,
        TrackerOptions(
            **{
                'max_objects': 8,
                'prompt_history_seconds': 1.0,
                'prompt_history_frames': 12,
                **options,
            }
        ),
    )


def click(number, x=20, y=20, **more):
    return Prompt.points(number, [(x, y)], [1], **more)


def run(tracker, first, last, prompts=None):
    """Show ten images per second; `prompts` by index of the image they are passed with."""
    return [
        tracker.step(IMAGE, i / 10, (prompts or {}).get(i, ())) for i in range(first, last + 1)
    ]


def state(tracker, number):
    """What the next image attends to, regardless of the order of the slots."""
    memory = tracker._table.live[number]
    view = memory.bank.view()
    row = tracker._runtime.read_row(memory.row)
    shown = [
        (code, row[0][slot].tobytes())
        for slot, code, ok in zip(
            view.memory_slots, view.temporal_index, view.memory_valid, strict=True
        )
        if ok
    ]
    pointers = [
        row[1][slot][:3].tobytes()
        for slot, ok in zip(view.pointer_slots, view.pointer_valid, strict=True)
        if ok
    ]
    return sorted(shown), sorted(pointers), memory.born_index, memory.born_at


def banks_agree(late, timely, numbers=(1,)):
    for number in numbers:
        assert state(late, number) == state(timely, number)


def test_a_new_object_is_replayed_within_one_step(runtime):
    late, timely = opened(runtime, catch_up=12), opened(FakeRuntime())
    run(late, 0, 9)
    assert runtime.calls == [], 'images without objects are not encoded'
    frame = late.step(IMAGE, 1.0, [click(1, stamp=0.2)])
    run(timely, 0, 10, {2: [click(1)]})
    (item,) = frame.objects
    assert (item.id, item.age_frames, round(item.age_seconds, 6)) == (1, 8, 0.8)
    banks_agree(late, timely)
    assert runtime.calls.count(('image_encoder', 1)) == 9


def test_the_replay_is_spread_over_several_steps(runtime):
    late = opened(runtime, catch_up=3)
    run(late, 0, 9)
    shown = []
    for i in range(10, 15):
        runtime.calls.clear()
        frame = late.step(IMAGE, i / 10, [click(1, stamp=0.2)] if i == 10 else [])
        shown.append([item.id for item in frame.objects])
        assert runtime.calls.count(('memory_encoder', 1)) <= 4
        assert late.objects == (1,)
    # Image 2 and seven more, three per step, while one image arrives per step: four steps.
    assert shown == [[], [], [], [1], [1]]
    timely = opened(FakeRuntime())
    run(timely, 0, 14, {2: [click(1)]})
    banks_agree(late, timely)


def test_a_live_object_is_tracked_without_the_late_prompt_until_the_replay_ends(runtime):
    late, timely = opened(runtime, catch_up=2), opened(FakeRuntime())
    run(late, 0, 9, {0: [click(1), click(2, x=50)]})
    centre = []
    for i in range(10, 18):
        frame = late.step(IMAGE, i / 10, [click(1, x=40, stamp=0.5)] if i == 10 else [])
        assert [item.id for item in frame.objects] == [1, 2]
        centre.append(round(frame.objects[0].centroid[0]))
    run(timely, 0, 17, {0: [click(1), click(2, x=50)], 5: [click(1, x=40)]})
    assert centre[0] == pytest.approx(20, abs=2) and centre[-1] == pytest.approx(40, abs=2)
    banks_agree(late, timely, (1, 2))
    assert late._table.live[1].row != 0, 'it has the row of its replay'


def test_a_late_second_click_is_applied_together_with_the_first(runtime):
    late, timely = opened(runtime, catch_up=12), opened(FakeRuntime())
    run(late, 0, 9, {3: [click(1)], 7: [Prompt.points(1, [(24, 24)], [0], stamp=0.3)]})
    run(timely, 0, 9, {3: [click(1), Prompt.points(1, [(24, 24)], [0])]})
    banks_agree(late, timely)
    prompt = max(runtime.prompts, key=lambda one: (one.labels >= 0).sum())
    assert prompt.labels[0, :3].tolist() == [1, 0, -1]


def test_prompts_for_a_replayed_object_on_earlier_and_later_images(runtime):
    late, timely = opened(runtime, catch_up=2), opened(FakeRuntime())
    run(
        late,
        0,
        16,
        {
            9: [click(1, stamp=0.1)],
            10: [click(1, x=30, stamp=0.8)],
            11: [click(1, x=24, stamp=0.3), click(1, x=26)],
        },
    )
    run(late, 17, 20)
    run(
        timely,
        0,
        20,
        {1: [click(1)], 3: [click(1, x=24)], 8: [click(1, x=30)], 11: [click(1, x=26)]},
    )
    banks_agree(late, timely)


def test_a_prompt_on_the_current_image_does_not_restart_a_replayed_object(runtime):
    late, timely = opened(runtime, catch_up=2), opened(FakeRuntime())
    run(late, 0, 9)
    frames = run(late, 10, 20, {10: [click(1, stamp=0.2)], 12: [click(1, x=30)]})
    shown = [len(frame.objects) for frame in frames]
    assert shown == sorted(shown) and shown[2] == 0 and shown[-1] == 1
    assert frames[shown.index(1)].objects[0].age_frames == 8 + shown.index(1)
    run(timely, 0, 20, {2: [click(1)], 12: [click(1, x=30)]})
    banks_agree(late, timely)


def test_prompts_on_images_after_the_late_one_are_replayed(runtime):
    late, timely = opened(runtime, catch_up=12), opened(FakeRuntime())
    run(late, 0, 9, {0: [click(1)], 6: [click(1, x=50)], 8: [click(1, x=40, stamp=0.4)]})
    run(timely, 0, 9, {0: [click(1)], 4: [click(1, x=40)], 6: [click(1, x=50)]})
    banks_agree(late, timely)


def test_a_late_prompt_may_replace_an_object(runtime):
    late, timely = opened(runtime, catch_up=12), opened(FakeRuntime())
    run(late, 0, 9, {0: [click(1)], 8: [click(1, x=40, stamp=0.4, replace=True)]})
    run(timely, 0, 9, {0: [click(1)], 4: [click(1, x=40, replace=True)]})
    banks_agree(late, timely)
    with pytest.raises(PromptError, match='did not exist yet'):
        late.step(IMAGE, 1.0, [click(1, stamp=0.3)])


def test_several_late_objects_share_the_replay(runtime):
    late, timely = opened(runtime, catch_up=3), opened(FakeRuntime())
    run(late, 0, 9)
    run(late, 10, 16, {10: [click(1, stamp=0.2), click(2, x=50, stamp=0.6)]})
    run(timely, 0, 16, {2: [click(1)], 6: [click(2, x=50)]})
    banks_agree(late, timely, (1, 2))
    assert ('memory_attention', 2) in runtime.calls


def test_a_prompt_for_a_dropped_image_is_applied_to_the_nearest(runtime):
    tracker = opened(runtime, catch_up=12)
    run(tracker, 0, 9)
    frame = tracker.step(IMAGE, 1.0, [click(1, stamp=0.42)])
    assert frame.objects[0].age_frames == 6


def test_stamps_may_differ_by_rounding(runtime):
    """A stamp in nanoseconds does not survive the conversion to double precision exactly."""
    rounding = 3e-7  # seconds
    tracker = opened(runtime, catch_up=12)
    run(tracker, 0, 9)
    oldest, newest = click(1, stamp=-rounding), click(2, x=50, stamp=1.0 + rounding)
    frame = tracker.step(IMAGE, 1.0, [oldest, newest])
    assert [item.age_frames for item in frame.objects] == [10, 0]
    # The last image replaced object 2, so that a prompt on it would come too late.
    tracker.step(IMAGE, 1.1, [click(2, x=50, replace=True)])
    with pytest.raises(PromptError, match='did not exist yet'):
        tracker.check(click(2, stamp=1.1 + rounding), (48, 64))


def test_prompts_on_images_that_are_not_kept_are_refused(runtime):
    tracker = opened(runtime)
    run(tracker, 0, 40)
    assert len(tracker._late._frames) == 11  # one second, including both ends
    with pytest.raises(PromptError, match=r'3\.000 s before the last one; the oldest .* 1\.000 s'):
        tracker.step(IMAGE, 4.1, [click(1, stamp=1.0)])
    with pytest.raises(PromptError, match='after this one'):
        tracker.step(IMAGE, 4.1, [click(1, stamp=5.0)])
    tracker.step(IMAGE, 4.1, [click(1, stamp=4.1)])
    assert tracker.objects == (1,)


def test_without_a_history_late_prompts_are_refused(runtime):
    tracker = opened(runtime, prompt_history_seconds=0.0)
    run(tracker, 0, 5)
    with pytest.raises(PromptError, match='set prompt_history_seconds'):
        tracker.step(IMAGE, 0.6, [click(1, stamp=0.3)])


def test_past_images_of_another_size_are_dropped(runtime):
    tracker = opened(runtime)
    run(tracker, 0, 5)
    small = np.zeros((24, 32, 3), np.uint8)
    with pytest.raises(FrameError, match='time went back'):
        tracker.step(small, 0.2)
    tracker.check(click(1, stamp=0.3), (48, 64))
    with pytest.raises(PromptError, match='none is kept'):
        tracker.step(small, 0.6, [click(1, stamp=0.3)])
    assert tracker.step(small, 0.6, [click(1)]).labels.shape == (24, 32)


def test_the_number_of_replayed_live_objects_is_limited(runtime):
    tracker = opened(runtime, catch_up=2)
    numbers = range(1, SPARE_ROWS + 2)
    run(tracker, 0, 9, {0: [click(n, x=5 * n) for n in numbers]})
    with pytest.raises(PromptError, match='send the prompt again'):
        tracker.step(IMAGE, 1.0, [click(n, stamp=0.3) for n in numbers])
    for n in numbers[:-1]:
        tracker.check(click(n, stamp=0.3), (48, 64))


def test_a_replayed_object_is_removed(runtime):
    tracker = opened(runtime, catch_up=2)
    run(tracker, 0, 9)
    tracker.step(IMAGE, 1.0, [click(1, stamp=0.2)])
    tracker.remove(1)
    assert tracker.objects == ()
    assert all(not frame.objects for frame in run(tracker, 11, 20))
    with pytest.raises(PromptError, match='was removed'):
        tracker.step(IMAGE, 2.1, [click(1)])


def test_a_restarted_clock_keeps_late_objects_but_refuses_old_stamps(runtime):
    tracker = opened(runtime, catch_up=2)
    run(tracker, 10, 19)
    tracker.step(IMAGE, 2.0, [click(1, stamp=1.2)])
    tracker.restart_clock()
    frames = run(tracker, 1, 9)
    assert frames[-1].objects[0].id == 1
    with pytest.raises(PromptError, match='oldest that is kept'):
        tracker.step(IMAGE, 1.0, [click(1, stamp=0.05)])


def test_check_refuses_the_late_prompts_that_step_would(runtime):
    tracker = opened(runtime)
    run(tracker, 0, 40, {35: [click(3)]})
    tracker.check(click(1, stamp=3.5), (48, 64))
    tracker.check(click(1, stamp=4.5), (48, 64))  # of the next image
    for prompt, message in (
        (click(1, stamp=1.0), 'oldest that is kept'),
        (click(3, stamp=3.2), 'did not exist yet'),
        (click(1, x=70, stamp=3.5), 'outside'),
    ):
        with pytest.raises(PromptError, match=message):
            tracker.check(prompt, (48, 64))


@pytest.mark.parametrize('function', ['image_encoder', 'mask_decoder', 'memory_encoder', 'store'])
def test_a_failing_device_does_not_lose_a_late_object(runtime, function):
    late, timely = opened(runtime, catch_up=4), opened(FakeRuntime())
    run(late, 0, 9, {0: [click(2, x=50)]})
    runtime.fail_in = function
    with pytest.raises(RuntimeError, match='device lost'):
        late.step(IMAGE, 1.0, [click(1, stamp=0.2)])
    runtime.fail_in = None
    run(late, 10, 16)
    run(timely, 0, 16, {0: [click(2, x=50)], 2: [click(1)]})
    banks_agree(late, timely, (1, 2))
