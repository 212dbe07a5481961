# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Order and time of images and prompts, without ROS nodes."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.colour_tracker import MAX_OBJECTS, ColourTracker, picture

from tam_ros.prompting.object_ids import BURST
from tam_ros.prompting.session import Action, PromptRequest, SessionState, TrackingSession
from tam_ros.prompting.stream_clock import StaleFrameError
from tam_ros.prompting.waiting_prompts import MAX_WAITING
from tam_ros.ros.parameters import Parameters
from tam_ros.tracking import FrameError, TrackerOptions

START = 1_700_000_000 * 10**9
MS = 10**6
IMAGE = picture(red=(10, 10), green=(30, 10), blue=(50, 10))
RED, GREEN, BLUE = ((15, 15),), ((35, 15),), ((55, 15),)


class Stream:
    """A session with a clock, its warnings, and the stamp of the newest image."""

    def __init__(self, max_objects=MAX_OBJECTS, prompt_history_seconds=1.0, time_jump=1.0):
        self.warnings, self.events = [], []
        self.passed = 0.0
        self.tracker = ColourTracker()
        parameters = Parameters(
            max_objects=max_objects,
            prompt_history_seconds=prompt_history_seconds,
            time_jump=time_jump,
        )
        self.session = TrackingSession(
            self.tracker,
            lambda: parameters,
            self.warnings.append,
            self.events.append,
            lambda: self.passed,
        )
        self.newest = None

    def image(self, milliseconds, pixels=IMAGE, passed=None):
        """Track an image; `passed` are the milliseconds of the monotonic clock, if they differ."""
        self.passed = max(self.passed, (milliseconds if passed is None else passed) / 1000)
        stamp = START + milliseconds * MS
        frame = self.session.step(pixels, stamp)
        self.newest = stamp
        return [item.id for item in frame.objects]

    def prompt(self, points, object_id=0, action=Action.ADD, at=None, name=''):
        request = PromptRequest(
            action,
            object_id,
            stamp_ns=0 if at is None else START + at * MS,
            name=name,
            points=points,
            point_labels=(1,) * len(points),
        )
        return self.session.submit_prompt(request, self.newest)


@pytest.fixture
def stream():
    made = Stream()
    made.image(0)
    return made


def test_waiting_prompts_have_their_own_ids(stream):
    """Three clicks between two images are three objects."""
    assert [stream.prompt(place).object_id for place in (RED, GREEN, BLUE)] == [1, 2, 3]
    assert stream.image(33) == [1, 2, 3]


def test_a_new_id_skips_ids_that_were_given(stream):
    assert stream.prompt(RED, object_id=1).success
    assert stream.prompt(GREEN).object_id == 2
    assert stream.prompt(BLUE, object_id=2).message.startswith('object 2 is already tracked')


def test_an_id_is_used_once_even_without_an_image(stream):
    stream.prompt(RED)
    assert stream.session.remove(1).success
    assert stream.image(33) == []
    assert 'was removed' in stream.prompt(RED, object_id=1).message
    assert stream.prompt(RED).object_id == 2


def test_clicks_before_the_first_image_add_up(stream):
    stream.prompt(RED)
    assert stream.prompt(((18, 18),), 1, Action.REFINE).success
    assert stream.image(33) == [1]


def test_an_object_cannot_begin_with_clicks_off_it(stream):
    off = {'points': ((15, 15),), 'point_labels': (0,)}
    for action in (Action.ADD, Action.REPLACE):
        stream.prompt(RED, 1)
        answer = stream.session.submit_prompt(
            PromptRequest(action, 0 if action is Action.ADD else 1, **off), stream.newest
        )
        assert not answer.success and 'has only clicks off it' in answer.message
    assert stream.session.submit_prompt(
        PromptRequest(Action.REFINE, 1, **off), stream.newest
    ).success


def test_the_limit_counts_waiting_objects(stream):
    for _ in range(MAX_OBJECTS):
        assert stream.prompt(RED).success
    refused = stream.prompt(RED)
    assert not refused.success
    assert f'{MAX_OBJECTS} objects' in refused.message
    assert stream.image(33) == [1, 2, 3, 4]


def test_a_refusal_of_the_tracker_drops_the_last_prompt_only():
    """With more objects than the tracker has room for, the image is tracked all the same."""
    stream = Stream(max_objects=MAX_OBJECTS + 2)
    stream.image(0)
    for _ in range(MAX_OBJECTS + 1):
        stream.prompt(RED, name='mug')
    assert stream.image(33) == [1, 2, 3, 4]
    assert stream.warnings == [f'prompt for object 5 refused: {MAX_OBJECTS} objects are the limit']
    assert 5 not in stream.session.names


def test_names_live_as_long_as_their_objects(stream):
    stream.prompt(RED, name='mug')
    stream.image(33)
    stream.prompt(RED, 1, Action.REFINE)
    assert stream.session.names == {1: 'mug'}, 'an empty name changes nothing'
    stream.prompt(RED, 1, Action.REFINE, name='cup')
    assert stream.session.names == {1: 'cup'}
    renaming = PromptRequest(Action.REFINE, 1, name='vase')
    assert renaming.only_renames
    assert stream.session.submit_prompt(renaming, stream.newest).success
    assert stream.session.names == {1: 'vase'}
    unknown = stream.session.submit_prompt(PromptRequest(Action.REFINE, 7, name='x'), None)
    assert not unknown.success and 'no object 7' in unknown.message
    stream.prompt((), 1, Action.REMOVE)
    assert stream.session.names == {}


def test_object_0_does_not_exist(stream):
    stream.prompt(RED)
    answer = stream.session.remove(0)
    assert not answer.success
    assert answer.message == 'the ids of objects begin at 1; tracked objects: 1'


def test_an_object_that_the_tracker_removes_is_an_event(stream, monkeypatch):
    """Only then: a request has an answer of its own."""
    for _ in range(3):
        stream.prompt(RED)
    stream.image(33)
    stream.session.remove(3)
    stream.image(66)
    assert stream.events == []
    step = stream.tracker.step

    def remove_first(*arguments, **options):
        stream.tracker.remove(1)
        return step(*arguments, **options)

    monkeypatch.setattr(stream.tracker, 'step', remove_first)
    stream.image(99)
    assert stream.events == ['object 1 is removed: it was out of sight for remove_after']


def test_a_prompt_waits_for_its_image(stream):
    assert stream.prompt(RED, at=66).success
    assert stream.image(33) == []
    assert stream.image(66) == [1]


def test_a_prompt_whose_image_was_dropped_applies_to_the_next(stream):
    assert stream.prompt(RED, at=66).success
    assert stream.image(99) == [1]


# Each row: age of the prompt in ms against the newest tracked image, and whether it is accepted.
@pytest.mark.parametrize(
    ('age', 'accepted'),
    [
        pytest.param(0, True, id='on the newest image'),
        pytest.param(1000, True, id='as old as allowed'),
        pytest.param(1001, False, id='too old'),
        pytest.param(-1000, True, id='an image that has not arrived'),
        pytest.param(-1001, False, id='too far ahead'),
    ],
)
def test_the_age_of_a_prompt(stream, age, accepted):
    stream.image(5000)
    answer = stream.prompt(RED, at=5000 - age)
    assert answer.success == accepted, answer.message
    if not accepted:
        assert '1.001 s' in answer.message


def test_a_prompt_that_became_too_old_is_dropped_with_a_warning(stream):
    assert stream.prompt(RED, at=33, name='mug').success
    stream.tracker.step(IMAGE, START / 10**9 + 2)
    assert stream.image(2033) == []
    assert stream.warnings == ['prompt for object 1 refused: made 1.967 s before the last image']
    assert stream.session.names == {}


def test_before_the_first_image():
    stream = Stream()
    assert 'no image has arrived yet' in stream.prompt(RED, at=0).message
    assert stream.prompt(RED).success
    assert stream.image(0) == [1]


def test_an_invalid_first_prompt_does_not_prevent_the_first_image():
    stream = Stream()
    assert stream.prompt(((500, 500),)).success, 'the size of the images is not known yet'
    assert stream.prompt(RED).success
    assert stream.image(0) == [2]
    assert 'outside the image' in stream.warnings[0]
    assert stream.prompt(GREEN).object_id == 3, 'its id is not used again'


def test_waiting_prompts_are_limited():
    stream = Stream(max_objects=200)
    answers = [stream.prompt(RED).success for _ in range(MAX_WAITING + 1)]
    assert answers == [True] * MAX_WAITING + [False]


def test_a_refused_image_keeps_the_prompts_for_the_next(stream):
    stream.prompt(RED)
    stream.image(33)
    stream.prompt(GREEN)
    with pytest.raises(FrameError, match='size changed'):
        stream.image(66, picture((20, 20)))
    assert stream.image(99) == [1, 2]


def test_a_refused_image_keeps_the_order_of_the_prompts(stream):
    """Prompts for the refused image precede those that wait for a later one."""
    stream.prompt(RED)
    stream.image(33)
    stream.prompt(GREEN)
    stream.prompt(GREEN)
    stream.prompt(BLUE, at=99)
    with pytest.raises(FrameError, match='size changed'):
        stream.image(66, picture((20, 20)))
    assert stream.image(99) == [1, 2, 3, 4]


def test_prompts_do_not_outlive_a_failure(stream, monkeypatch):
    """A prompt that makes the tracker fail must not make it fail on every later image."""
    stream.prompt(RED)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(stream.tracker, 'step', _fail)
        stream.image(33)
    assert stream.warnings == ['prompt for object 1 refused: tracking failed: device lost']
    assert stream.image(66) == []


def _fail(*_, **__):
    raise RuntimeError('device lost')


def test_stale_images_change_nothing(stream):
    stream.prompt(RED)
    stream.image(1000)
    for milliseconds in (1000, 999, 0):
        with pytest.raises(StaleFrameError):
            stream.image(milliseconds)
    assert stream.tracker.clock_restarts == 0
    assert stream.image(1033) == [1]


def test_a_jump_back_keeps_the_objects(stream):
    stream.prompt(RED)
    stream.image(5000)
    stream.prompt(GREEN, at=5500, name='late')
    stream.prompt(BLUE)
    assert stream.image(100) == [1, 3], 'the prompt on the old recording is dropped'
    assert stream.tracker.clock_restarts == 1
    assert 'time went back by 4.900 s' in stream.warnings[0]
    assert 'the recording of its image has ended' in stream.warnings[1]
    assert stream.session.names == {}
    assert stream.image(133) == [1, 3]
    assert stream.prompt(RED, at=133).success


def test_the_session_reports_its_state(stream):
    assert stream.session.info == {
        'model': 'colour',
        'runtime': 'none',
        'weights': 'untrained',
        'device': 'cpu',
        'precision': 'exact',
    }
    assert stream.session.state == SessionState()
    stream.prompt(RED)
    stream.tracker.late_objects = (1,)
    assert stream.session.state == SessionState(waiting_prompts=1, used_ids=1, late_objects=(1,))


def test_the_session_sets_the_options_of_its_tracker_and_closes_it(stream):
    with stream.session as session:
        session.set_options(TrackerOptions(lost_after=0.5))
        assert stream.tracker.options['lost_after'] == 0.5
        assert not stream.tracker.closed
    assert stream.tracker.closed


def test_reset_starts_over(stream):
    stream.prompt(RED, name='mug')
    stream.image(33)
    stream.prompt(GREEN)
    assert stream.session.reset().success
    assert stream.image(66) == []
    assert stream.session.names == {}
    assert stream.prompt(GREEN).object_id == 1
    # The images may have another size from here on.
    stream.session.reset()
    assert stream.image(99, np.zeros((20, 20, 3), np.uint8)) == []


YEARS_AHEAD = 400_000_000_000  # milliseconds


def test_single_images_with_a_stamp_far_ahead_change_nothing(stream):
    """Also once a second, among images with right stamps; late prompts are still taken."""
    stream.session.set_options(TrackerOptions(max_objects=MAX_OBJECTS, remove_after=5.0))
    stream.prompt(RED)
    stream.image(100)
    for turn in range(1, 4):
        with pytest.raises(StaleFrameError, match='too far ahead'):
            stream.image(YEARS_AHEAD + turn * 1000, passed=turn * 200)
        assert stream.image(turn * 200 + 1) == [1]
        assert stream.prompt(RED, object_id=1, action=Action.REFINE, at=turn * 200 + 1).success
    assert stream.warnings == []
    assert stream.events == []


def test_a_clock_that_was_set_ahead_is_followed(stream):
    stream.prompt(RED)
    stream.image(100)
    with pytest.raises(StaleFrameError, match='too far ahead'):
        stream.image(YEARS_AHEAD, passed=200)
    assert stream.image(YEARS_AHEAD + 100, passed=300) == [1]
    assert stream.image(YEARS_AHEAD + 200, passed=400) == [1]
    assert [text[:16] for text in stream.warnings] == ['time went ahead ']


def test_a_pause_of_the_camera_is_not_a_jump(stream):
    stream.prompt(RED)
    stream.image(100)
    assert stream.image(60_000) == [1]
    assert stream.warnings == []


def test_a_mask_that_does_not_fit_into_the_memory_uses_no_id(monkeypatch):
    monkeypatch.setattr('tam_ros.prompting.waiting_prompts.MAX_MASK_BYTES', 3)
    stream = Stream()

    def add(shape):
        request = PromptRequest(Action.ADD, mask=np.ones(shape, bool))
        return stream.session.submit_prompt(request, None)

    assert add((4, 4)) == (True, 1, '')
    refused = add((4, 4))
    assert (refused.success, refused.object_id) == (False, 0)
    assert 'send this one after the next image' in refused.message
    assert stream.session.tracked == {1}
    assert add((2, 4)).object_id == 2


def test_new_objects_are_limited_whoever_removes_them():
    stream = Stream()
    stream.image(0)
    for _ in range(BURST):
        assert stream.session.remove(stream.prompt(RED).object_id).success
    assert 'max_new_objects' in stream.prompt(RED).message
    assert stream.session.state.used_ids == BURST
    stream.passed += 0.5
    assert stream.prompt(RED).object_id == BURST + 1
