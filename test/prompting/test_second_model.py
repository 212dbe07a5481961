# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A further model beside the tracker's: which image it segments, and what becomes of prompts."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.colour_tracker import ColourTracker, picture

from tam_ros.prompting.second_model import MAX_KEPT, SecondModel
from tam_ros.prompting.session import Action, PromptRequest, TrackingSession
from tam_ros.ros.parameters import Parameters
from tam_ros.segmentation import Segmentation
from tam_ros.tracking import Prompt, PromptError

SECOND = 10**9
CLICK = Prompt.points(1, [(3, 2)], [1])


class FakeSegmenter:
    """Segments the first row, or nothing; notes the images that it encodes."""

    model, weights = 'other', 'of the test'

    def __init__(self):
        self.encoded, self.prompts, self.closed = [], [], False
        self.is_empty, self.error = False, None

    def set_image(self, image):
        self.encoded.append(int(image[0, 0, 0]))
        self.size = image.shape[:2]

    def segment(self, prompt):
        if self.error:
            raise self.error
        self.prompts.append(prompt)
        mask = np.zeros((1, *self.size), bool)
        mask[0, 0] = not self.is_empty
        values = np.ones(1, np.float32)
        return Segmentation(mask, values, values, values, np.zeros((1, 8, 8), np.float32))

    def close(self):
        self.closed = True


def image(number):
    return np.full((6, 8, 3), number, np.uint8)


@pytest.fixture
def segmenter():
    return FakeSegmenter()


@pytest.fixture
def second(segmenter):
    made = SecondModel(segmenter, segments=True, begins=True)
    for number in range(1, 4):
        made.keep(image(number), number * SECOND, 10.0)
    return made


def at(seconds):
    return Prompt.points(1, [(3, 2)], [1], stamp=seconds)


def test_the_image_of_the_stamp_is_segmented_and_encoded_once(second, segmenter):
    assert second.segment(CLICK)[0] == 3 * SECOND
    assert second.segment(at(2.9))[0] == 3 * SECOND
    assert second.segment(at(1.2))[0] == SECOND
    assert segmenter.encoded == [3, 1]


def test_old_images_are_dropped(second, segmenter):
    second.keep(image(4), 4 * SECOND, 1.5)
    assert second.segment(at(1.0))[0] == 3 * SECOND
    for number in range(MAX_KEPT + 5):
        second.keep(image(number), (10 + number) * SECOND, 1000.0)
    assert second.segment(at(1.0))[0] == 15 * SECOND
    second.keep(image(9), 3 * SECOND, 1000.0)  # the clock was restarted
    segmenter.encoded.clear()
    assert second.segment(at(20.0))[0] == 3 * SECOND
    assert segmenter.encoded == [9]


def test_without_an_image_it_says_so(segmenter):
    with pytest.raises(PromptError, match='no image has been tracked yet'):
        SecondModel(segmenter, True, True).segment(CLICK)


def test_the_prompt_of_a_new_object_becomes_a_mask(second, segmenter):
    prompt = second.as_mask(Prompt.box(7, (1, 1, 4, 4), replace=True, stamp=2.0))
    assert (prompt.object_id, prompt.replace, prompt.stamp) == (7, True, 2.0)
    assert prompt.mask_image[0].all() and not prompt.mask_image[1:].any()
    assert second.as_mask(prompt) is prompt
    segmenter.is_empty = True
    assert second.as_mask(CLICK) is CLICK
    only_previews = SecondModel(segmenter, segments=True, begins=False)
    assert only_previews.as_mask(CLICK) is CLICK


class Stream:
    def __init__(self, segmenter):
        self.warnings = []
        self.tracker = ColourTracker()
        self.session = TrackingSession(
            self.tracker,
            lambda: Parameters(),
            self.warnings.append,
            second=SecondModel(segmenter, segments=False, begins=True),
        )
        self.step(0)

    def step(self, number):
        self.session.step(picture(red=(10, 10)), (100 + number) * SECOND)

    def prompt(self, action=Action.ADD, object_id=0, stamp_ns=0):
        request = PromptRequest(
            action, object_id, stamp_ns, points=((15.0, 15.0),), point_labels=(1,)
        )
        return self.session.submit_prompt(request, 100 * SECOND)


@pytest.fixture
def stream(segmenter, monkeypatch):
    made = Stream(segmenter)
    made.given = []
    step = made.tracker.step

    def note(pixels, stamp, prompts=()):
        made.given += prompts
        # The tracker of the test follows colours, not masks.
        return step(
            pixels, stamp, [CLICK if one.mask_image is not None else one for one in prompts]
        )

    monkeypatch.setattr(made.tracker, 'step', note)
    return made


def test_objects_begin_with_the_mask_and_clicks_correct_them(stream):
    assert stream.prompt().success
    stream.step(1)
    assert stream.prompt(Action.REFINE, 1).success
    stream.step(2)
    begun, corrected = stream.given
    assert begun.mask_image is not None and corrected.mask_image is None


def test_if_it_fails_the_tracker_begins_alone(stream, segmenter):
    segmenter.error = RuntimeError('device lost')
    assert stream.prompt().success
    stream.step(1)
    assert stream.given[0].mask_image is None
    assert stream.warnings == ['prompt_model failed, object 1 begins without it: device lost']


def test_it_is_described_and_closed_with_the_session(stream, segmenter):
    assert stream.session.info['second_model'] == 'other, of the test'
    stream.session.close()
    assert segmenter.closed
