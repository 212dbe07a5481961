# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The rules of the tracker, with a fake runtime instead of a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tam_ros.tracking import FrameError, ObjectState, Prompt, PromptError, Tracker, TrackerOptions
from tracking.fake_runtime import SPEC, FakeRuntime

IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def tracker(runtime):
    return Tracker(runtime, TrackerOptions(max_objects=3, lost_after=1.0))


def click(number, x=20, y=20, **more):
    return Prompt.points(number, [(x, y)], [1], **more)


def test_a_prompted_object_is_tracked_under_its_id(tracker):
    first = tracker.step(IMAGE, 0.0, [click(5, x=16, y=12)])
    assert first.labels.dtype == np.uint16 and first.labels.shape == (48, 64)
    assert first.labels[12, 16] == 5 and first.labels[40, 60] == 0
    second = tracker.step(IMAGE, 0.1)
    (item,) = second.objects
    assert (item.id, item.state, item.age_frames) == (5, ObjectState.VISIBLE, 1)
    assert item.age_seconds == pytest.approx(0.1)
    assert item.mask[12, 16] and item.area == item.mask.sum()
    x0, y0, x1, y1 = item.box
    assert item.mask[y0:y1, x0:x1].any(0).all() and x0 <= item.centroid[0] < x1
    assert item.score == pytest.approx(1 / (1 + np.exp(-item.score_logit)))


def test_all_objects_share_one_batch_of_each_function(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1), click(2, x=50), click(3, y=40)])
    runtime.calls.clear()
    tracker.step(IMAGE, 0.1)
    assert runtime.calls == [
        ('image_encoder', 1),
        ('memory_attention', 3),
        ('mask_decoder', 3),
        ('memory_encoder', 3),
    ]


def test_the_first_frame_skips_memory_attention_and_is_encoded_as_prompted(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1)])
    assert 'memory_attention' not in dict(runtime.calls)
    assert runtime.prompted == [[1.0]]
    tracker.step(IMAGE, 0.1)
    assert runtime.prompted[-1] == [0.0]


def test_without_objects_the_model_does_not_run(tracker, runtime):
    frame = tracker.step(IMAGE, 0.0)
    assert frame.objects == [] and frame.labels.shape == (48, 64) and not frame.labels.any()
    assert runtime.calls == []


@pytest.mark.parametrize('resize', ['pil', 'opencv'])
def test_images_may_be_views_of_arrays(runtime, resize):
    tracker = Tracker(runtime, TrackerOptions(resize=resize))
    bgr = np.zeros((48, 128, 3), np.uint8)
    assert tracker.step(bgr[:, ::2, ::-1], 0.0, [click(1)]).labels.shape == (48, 64)


def test_padding_tokens_of_a_tracked_frame_and_of_a_click(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1, x=32, y=24)])
    prompt = runtime.prompts[-1]
    # (32, 24) of 64x48 is the middle of the 64x64 input; the padding token follows, the rest is
    # hidden.
    assert prompt.points[0, 0].tolist() == [32, 32]
    assert prompt.labels[0].tolist() == [1, -1] + [-2] * 6
    assert prompt.has_mask.tolist() == [0]
    tracker.step(IMAGE, 0.1)
    assert runtime.prompts[-1].labels[0].tolist() == [-1, -1] + [-2] * 6


def test_a_second_click_is_added_to_the_first_and_refines_its_mask(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1), Prompt.points(1, [(40, 40)], [0])])
    prompt = runtime.prompts[-1]
    assert prompt.labels[0, :3].tolist() == [1, 0, -1]
    assert prompt.has_mask.tolist() == [1] and prompt.mask.max() == 5


@pytest.mark.parametrize(
    ('prompts', 'candidate'),
    [
        ([click(1)], 2),  # ambiguous: the best of 1..3 by IoU
        ([click(1), click(1, x=30)], 0),  # two clicks are not ambiguous
        ([Prompt.box(1, (10, 10, 30, 30))], 0),  # nor is a box
        ([Prompt.mask(1, np.ones((48, 64), bool))], 0),
    ],
)
def test_ambiguous_prompts_and_tracked_frames_choose_among_three(
    tracker, runtime, prompts, candidate
):
    tracker.step(IMAGE, 0.0, prompts)
    assert runtime.candidates == [candidate]
    tracker.step(IMAGE, 0.1)
    assert runtime.candidates == [2]


def test_a_box_drops_earlier_clicks_on_its_frame(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1), Prompt.box(1, (10, 10, 30, 30))])
    assert runtime.prompts[-1].labels[0, :3].tolist() == [2, 3, -1]


def test_a_refined_frame_may_be_a_recent_memory_as_in_the_official_predictor(runtime):
    tracker = Tracker(runtime, TrackerOptions(max_objects=3, refined_frames_condition=False))
    tracker.step(IMAGE, 0.0, [click(1), click(2, x=50)])
    runtime.calls.clear()
    frame = tracker.step(IMAGE, 0.1, [click(2, x=30, y=30)])
    assert [name for name, _ in runtime.calls] == [
        'image_encoder',
        'memory_attention',
        'mask_decoder',
        'mask_decoder',
        'memory_encoder',
    ]
    assert runtime.prompted[-1] == [0.0, 1.0]
    assert frame.objects[1].mask[30, 30]
    tracker.step(IMAGE, 0.2)
    bank = runtime.banks[-1]
    assert sorted(bank.temporal_index[1][bank.memory_valid[1] > 0]) == [0, 6]


def test_refined_frames_are_conditioning_memories(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1)])
    tracker.step(IMAGE, 0.1, [click(1)])
    tracker.step(IMAGE, 0.2)
    bank = runtime.banks[-1]
    assert sorted(bank.temporal_index[0][bank.memory_valid[0] > 0]) == [6, 6]


def test_replace_deletes_the_memories_and_keeps_the_id(tracker, runtime):
    for t in range(5):
        tracker.step(IMAGE, float(t), [click(1)] if t == 0 else [])
    runtime.calls.clear()
    frame = tracker.step(IMAGE, 5.0, [click(1, x=50, y=40, replace=True)])
    assert 'memory_attention' not in dict(runtime.calls), 'the previous memories are not used'
    assert runtime.prompts[-1].has_mask.tolist() == [0]
    assert frame.objects[0].age_frames == 5
    tracker.step(IMAGE, 6.0)
    assert runtime.banks[-1].memory_valid.sum() == 1


def test_the_result_of_a_mask_prompt_is_the_mask_itself(tracker, runtime):
    mask = np.zeros((48, 64), bool)
    mask[10:30, 20:50] = True
    frame = tracker.step(IMAGE, 0.0, [Prompt.mask(1, mask)])
    ours = frame.objects[0].mask
    assert (ours & mask).sum() / (ours | mask).sum() > 0.9
    assert frame.objects[0].score_logit == 10


def test_ids_are_ascending_and_not_reused(tracker):
    frame = tracker.step(IMAGE, 0.0, [click(0), click(2, x=50), click(0, y=40)])
    assert [item.id for item in frame.objects] == [1, 2, 3]
    tracker.remove(2)
    assert tracker.objects == (1, 3)
    assert tracker.new_id() == 4
    with pytest.raises(PromptError, match='object 2 was removed'):
        tracker.step(IMAGE, 0.1, [click(2)])
    frame = tracker.step(IMAGE, 0.1, [click(0)])
    assert [item.id for item in frame.objects] == [1, 3, 4]
    tracker.reset()
    assert tracker.objects == () and tracker.new_id() == 1


def test_rows_of_removed_objects_are_reused(tracker, runtime):
    for t in range(50):
        frame = tracker.step(IMAGE, float(t), [click(0)])
        tracker.remove(frame.objects[0].id)
    assert {row for rows, _, _ in runtime.stored for row in rows} == {0}


def test_a_new_object_does_not_attend_to_the_previous_one_of_its_row(tracker, runtime):
    for t in range(10):
        tracker.step(IMAGE, float(t), [click(1)] if t == 0 else [])
    tracker.remove(1)
    tracker.step(IMAGE, 10.0, [click(2)])
    tracker.step(IMAGE, 11.0)
    assert runtime.banks[-1].memory_valid.sum() == 1
    assert runtime.banks[-1].pointer_valid.sum() == 1


def test_states_depend_on_the_score_and_lost_after(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1)])
    runtime.present = False
    states = [tracker.step(IMAGE, t).objects[0] for t in (0.5, 1.0, 1.6)]
    assert [item.state for item in states] == ['occluded', 'occluded', 'lost']
    assert states[0].box is None and states[0].area == 0 and states[0].score < 0.5
    runtime.present = True
    assert tracker.step(IMAGE, 2.0).objects[0].state == ObjectState.VISIBLE
    runtime.present = False
    assert tracker.step(IMAGE, 2.5).objects[0].state == ObjectState.OCCLUDED


def test_objects_that_are_lost_for_long_are_in_one_last_result_and_removed(runtime):
    tracker = Tracker(runtime, TrackerOptions(lost_after=1.0, remove_after=2.0))
    tracker.step(IMAGE, 0.0, [click(1), click(2, x=50)])
    runtime.present = False
    tracker.step(IMAGE, 1.5)
    frame = tracker.step(IMAGE, 1.9, [click(2, x=50)])  # visible again, because it is prompted
    assert [item.state for item in frame.objects] == ['lost', 'visible']
    frame = tracker.step(IMAGE, 2.1)
    assert frame.removed == (1,) and [item.id for item in frame.objects] == [1, 2]
    assert tracker.objects == (2,)
    assert [item.id for item in tracker.step(IMAGE, 2.2).objects] == [2]
    with pytest.raises(PromptError, match='object 1 was removed'):
        tracker.step(IMAGE, 2.3, [click(1)])


def test_the_runtime_is_closed_if_the_device_has_not_enough_memory(runtime, monkeypatch):
    monkeypatch.setattr('tam_ros.loading.open_runtime', lambda *_, **__: runtime)
    Tracker.open('fake')
    assert not runtime.closed

    def allocate(*_, **__):
        raise MemoryError('out of memory')

    monkeypatch.setattr(runtime, 'allocate', allocate)
    with pytest.raises(MemoryError):
        Tracker.open('fake')
    assert runtime.closed


def test_a_with_block_closes_the_runtime(runtime):
    with Tracker(runtime) as tracker:
        tracker.step(IMAGE, 0.0, [click(1)])
        assert not runtime.closed
    assert runtime.closed


def test_a_with_block_closes_the_runtime_after_an_error(runtime):
    with pytest.raises(FrameError), Tracker(runtime) as tracker:
        tracker.step(IMAGE[..., 0], 0.0)
    assert runtime.closed


def test_options_change_while_it_tracks(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1)])
    runtime.present = False
    assert tracker.step(IMAGE, 0.5).objects[0].state == 'occluded'
    tracker.set_options(lost_after=0.25)
    assert tracker.step(IMAGE, 0.6).objects[0].state == 'lost'
    tracker.set_options(skip_occluded_memories=True)
    runtime.calls.clear()
    tracker.step(IMAGE, 0.7)
    assert 'memory_encoder' not in dict(runtime.calls)
    tracker.reset()
    tracker.step(IMAGE, 0.0)
    tracker.set_options(catch_up=9, max_objects=3)
    with pytest.raises(ValueError, match='max_objects cannot change'):
        tracker.set_options(max_objects=4)
    with pytest.raises(ValueError, match='remove_after'):
        tracker.set_options(remove_after=0.1)


def test_objects_are_not_removed_by_default(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1)])
    runtime.present = False
    frame = tracker.step(IMAGE, 1e6)
    assert frame.removed == () and frame.objects[0].state == 'lost'


@pytest.mark.parametrize(('skip', 'kept'), [(True, {0, 1, 6}), (False, {0, 1, 2, 3, 6})])
def test_occluded_frames_may_be_left_out_of_the_bank(runtime, skip, kept):
    tracker = Tracker(runtime, TrackerOptions(skip_occluded_memories=skip))
    tracker.step(IMAGE, 0.0, [click(1)])
    tracker.step(IMAGE, 0.1)
    runtime.present = False
    runtime.calls.clear()
    tracker.step(IMAGE, 0.2)
    tracker.step(IMAGE, 0.3)
    assert runtime.calls.count(('memory_encoder', 1)) == (0 if skip else 2)
    runtime.present = True
    tracker.step(IMAGE, 0.4)
    (item,) = tracker.step(IMAGE, 0.5).objects
    bank = runtime.banks[-1]
    assert set(bank.temporal_index[0][bank.memory_valid[0] > 0]) == kept
    assert (item.state, item.age_frames) == ('visible', 5)


def test_a_long_stream_keeps_its_storage(tracker, runtime):
    tracker.step(IMAGE, 0.0, [click(1)])
    for t in range(1, 300):
        tracker.step(IMAGE, float(t))
    assert {slot for _, slots, _ in runtime.stored for slot in slots} == set(range(8))
    assert {slot for _, _, slots in runtime.stored for slot in slots} == set(range(17))
    assert runtime.banks[-1].memory_valid.all() and runtime.banks[-1].pointer_valid.all()


@pytest.mark.parametrize(
    ('image', 'stamp', 'message'),
    [
        (IMAGE[..., 0], 1.0, r'shape \(48, 64\)'),  # grey
        (np.zeros((48, 64, 4), np.uint8), 1.0, 'shape'),  # with alpha
        (IMAGE.astype(np.float32), 1.0, 'float32'),
        ('image', 1.0, 'str'),
        (np.zeros((0, 64, 3), np.uint8), 1.0, '64x0'),  # empty
        (np.zeros((1, 20000, 3), np.uint8), 1.0, '20000x1'),  # too wide for a camera
        (np.zeros((24, 32, 3), np.uint8), 1.0, 'reset the tracker to change the size'),
        (IMAGE, 0.0, 'that of the previous image'),
        (IMAGE, -3.0, 'time went back by 3'),
        (IMAGE, float('nan'), 'not finite'),
    ],
)
def test_refused_frames_change_nothing(tracker, image, stamp, message):
    tracker.step(IMAGE, 0.0, [click(1)])
    with pytest.raises(FrameError, match=message):
        tracker.step(image, stamp)
    frame = tracker.step(IMAGE, 0.1)
    assert (frame.index, frame.objects[0].id, frame.objects[0].age_frames) == (1, 1, 1)


@pytest.mark.parametrize(
    ('prompts', 'message'),
    [
        ([click(1, x=64)], 'outside the image 64x48'),
        ([Prompt.mask(1, np.ones((4, 4), bool))], '4x4 but the image 64x48'),
        ([click(7), click(8), click(9)], 'limit of 3 objects'),
        # a refused prompt also discards the accepted ones before it
        ([click(2), click(3, x=99)], 'outside'),
        ([Prompt.points(2, [(i, i) for i in range(8)], [1] * 8)], 'the limit is 7'),
        ([Prompt.points(2, [(i, i) for i in range(4)], [1] * 4)] * 2, 'the limit is 7'),
    ],
)
def test_refused_prompts_change_nothing(tracker, prompts, message):
    tracker.step(IMAGE, 0.0, [click(1)])
    with pytest.raises(PromptError, match=message):
        tracker.step(IMAGE, 0.1, prompts)
    if len(prompts) == 1:
        with pytest.raises(PromptError, match=message):
            tracker.check(prompts[0], (48, 64))
    frame = tracker.step(IMAGE, 0.1)
    assert [item.id for item in frame.objects] == [1] and frame.index == 1


def test_removing_an_unknown_object(tracker):
    with pytest.raises(PromptError, match='no object 9'):
        tracker.remove(9)


@pytest.mark.parametrize(
    'function', ['image_encoder', 'memory_attention', 'mask_decoder', 'memory_encoder', 'store']
)
def test_an_error_of_the_device_loses_no_object(tracker, runtime, function):
    tracker.step(IMAGE, 0.0, [click(1)])
    runtime.fail_in = function
    with pytest.raises(RuntimeError, match='device lost'):
        tracker.step(IMAGE, 0.1, [click(2)])
    runtime.fail_in = None
    frame = tracker.step(IMAGE, 0.1)
    assert [item.id for item in frame.objects] == [1] and frame.objects[0].age_frames == 1
    assert runtime.banks[-1].memory_valid.sum() == 1, 'the failed frame left no memory'


def test_all_ids_are_used(tracker):
    tracker.step(IMAGE, 0.0, [click(65535)])
    tracker._table.used |= set(range(1, 65535))
    with pytest.raises(PromptError, match='all 65535 object ids'):
        tracker.step(IMAGE, 0.1, [click(0)])


def test_the_clock_is_restarted_and_the_objects_are_kept(tracker):
    tracker.step(IMAGE, 100.0, [click(1)])
    tracker.step(IMAGE, 101.0)
    tracker.restart_clock()
    frame = tracker.step(IMAGE, 5.0)
    assert frame.objects[0].age_frames == 2 and frame.objects[0].age_seconds == 1.0


def test_the_image_size_may_change_while_there_is_no_object(tracker):
    tracker.step(IMAGE, 0.0, [click(1)])
    tracker.remove(1)
    assert tracker.step(np.zeros((24, 32, 3), np.uint8), 0.1).labels.shape == (24, 32)


def test_the_dense_prior_is_drawn_for_models_that_need_it():
    runtime = FakeRuntime(replace(SPEC, dense_prompt_prior=True))
    tracker = Tracker(runtime)
    tracker.step(IMAGE, 0.0, [Prompt.box(1, (16, 12, 48, 36))])
    prompt = runtime.prompts[-1]
    assert prompt.has_mask.tolist() == [1]
    assert prompt.mask[0, 0, 8, 8] == 3 and prompt.mask[0, 0, 0, 0] == -10


@pytest.mark.parametrize(
    'wrong',
    [
        {'max_objects': 0},
        {'max_objects': 256},
        {'resize': 'nearest'},
        {'lost_after': -1},
        {'max_conditioning': 0},
        {'max_conditioning': 7},
        {'remove_after': 1.0},
        {'prompt_history_seconds': -1},
        {'prompt_history_frames': 0},
        {'catch_up': 1},
    ],
)
def test_invalid_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrackerOptions(**wrong)
