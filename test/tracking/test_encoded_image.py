# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recent images as the tracker has encoded them, for image mode."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.tracking import Prompt, PromptError, Tracker, TrackerOptions
from tracking.fake_runtime import FakeRuntime

IMAGE = np.zeros((30, 40, 3), np.uint8)


def open_tracker(**options):
    runtime = FakeRuntime()
    return runtime, Tracker(runtime, TrackerOptions(**options))


def encodings(runtime):
    return [name for name, _ in runtime.calls].count('image_encoder')


def test_an_image_that_was_encoded_for_tracking_is_not_encoded_again():
    runtime, tracker = open_tracker(prompt_history_seconds=1.0)
    tracker.step(IMAGE, 0.0, [Prompt.points(1, [(20, 15)], [1])])
    image = tracker.encoded_image()
    assert (image.size, image.stamp, image.runtime) == ((30, 40), 0.0, runtime)
    assert image.features.without_memory == 'without_memory'
    assert encodings(runtime) == 1
    assert tracker.objects == (1,)


def test_an_image_without_objects_is_encoded_once_when_it_is_asked_for():
    runtime, tracker = open_tracker(prompt_history_seconds=1.0)
    tracker.step(IMAGE, 0.0)
    assert encodings(runtime) == 0
    tracker.encoded_image()
    tracker.encoded_image(0.0)
    assert encodings(runtime) == 1
    assert tracker.objects == ()


def test_the_image_is_the_one_nearest_to_the_stamp():
    _, tracker = open_tracker(prompt_history_seconds=1.0)
    for stamp in (0.0, 0.5, 0.9):
        tracker.step(IMAGE, stamp)
    assert tracker.encoded_image().stamp == 0.9
    assert tracker.encoded_image(0.6).stamp == 0.5
    assert tracker.encoded_image(0.0).stamp == 0.0


def test_what_is_not_kept_is_refused_with_the_reason():
    _, tracker = open_tracker()
    tracker.step(IMAGE, 0.0)
    with pytest.raises(PromptError, match='is kept: set prompt_history_seconds'):
        tracker.encoded_image()
    _, tracker = open_tracker(prompt_history_seconds=1.0)
    with pytest.raises(PromptError, match='no image has been tracked yet'):
        tracker.encoded_image()
    for stamp in (5.0, 6.0, 7.0):
        tracker.step(IMAGE, stamp)
    with pytest.raises(PromptError, match='3.000 s before the last one'):
        tracker.encoded_image(4.0)
    with pytest.raises(PromptError, match=r'1\.000 s after the last one'):
        tracker.encoded_image(8.0)


def test_after_the_clock_was_restarted_only_the_newest_image_can_be_named():
    _, tracker = open_tracker(prompt_history_seconds=1.0)
    tracker.step(IMAGE, 5.0)
    tracker.restart_clock()
    assert tracker.encoded_image().stamp is None
    with pytest.raises(PromptError, match='the clock was restarted'):
        tracker.encoded_image(5.0)
    tracker.step(IMAGE, 1.0)
    assert tracker.encoded_image(1.0).stamp == 1.0
