# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Masks that the model is much less sure of than usual are not shown."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.tracking import Prompt, Tracker, TrackerOptions
from tam_ros.tracking.frame_result import ObjectState
from tam_ros.tracking.mask_prediction import MaskPrediction
from tam_ros.tracking.plausibility import NEEDED, WINDOW, Confidences, confidence
from tracking.fake_runtime import FakeRuntime

IMAGE = np.zeros((60, 80, 3), np.uint8)


def test_confidence_of_a_mask():
    logits = np.full((4, 4), -3.0, np.float32)
    assert confidence(logits, 0.9) == 0
    logits[0, :2] = 2.0, 4.0
    assert confidence(logits, 0.5) == pytest.approx(1.5)
    assert confidence(logits, -0.5) == 0


def test_the_usual_confidence_is_a_median_of_recent_images():
    known = Confidences(keep=5)
    for index in range(NEEDED):
        assert known.plausible(0.01, 0.5), 'nothing to compare with yet'
        known.add(index, 2.0)
    assert known.plausible(1.0, 0.5) and not known.plausible(0.99, 0.5)
    for index in range(NEEDED, NEEDED + WINDOW):
        known.add(index, 1.0)
    assert known.plausible(0.5, 0.5), 'the first images are no longer counted'
    before = known.before(NEEDED)
    assert not before.plausible(0.99, 0.5), 'as it was then'
    known.clear()
    assert known.plausible(0.0, 0.5)


def test_a_hidden_prediction_has_no_mask_and_no_certain_score():
    shown = MaskPrediction(np.ones((2, 2), np.float32), 4.0, np.zeros(3, np.float32), 0.7)
    hidden = shown.hidden()
    assert shown.present and not hidden.present
    assert not (hidden.logits > 0).any() and hidden.score == 0


class UnsureRuntime(FakeRuntime):
    """The fake runtime, with logits that the test can scale down."""

    scale = 1.0

    def mask_decoder(self, features, source, tokens):
        masks, *others = super().mask_decoder(features, source, tokens)
        return (masks * np.float32(self.scale), *others)


@pytest.mark.parametrize('share', [0.0, 0.5])
def test_an_object_whose_mask_is_unsure_is_occluded_until_it_is_sure_again(share):
    runtime = UnsureRuntime()
    tracker = Tracker(runtime, TrackerOptions(hide_below=share))
    prompts = [Prompt.box(1, (10, 10, 30, 30))]
    states, areas, memories = [], [], []
    for index in range(12):
        runtime.scale = 0.3 if 6 <= index < 9 else 1.0
        result = tracker.step(IMAGE, index / 10, prompts if index == 0 else ())
        (found,) = result.objects
        states.append(found.state)
        areas.append(found.area)
        memories.append(len(runtime.stored))
    hidden = [6, 7, 8] if share else []
    assert [i for i, state in enumerate(states) if state is not ObjectState.VISIBLE] == hidden
    assert [i for i, area in enumerate(areas) if area == 0] == hidden
    assert np.diff(memories).min() > 0, 'every image is remembered'


def test_a_prompt_says_what_the_object_is():
    """After a prompt, the confidence before it does not count."""
    runtime = UnsureRuntime()
    tracker = Tracker(runtime, TrackerOptions(hide_below=0.5))
    for index in range(8):
        prompts = [Prompt.box(1, (10, 10, 30, 30), replace=True)] if index in (0, 6) else ()
        runtime.scale = 0.3 if index >= 5 else 1.0
        (found,) = tracker.step(IMAGE, index / 10, prompts).objects
        assert (found.area == 0) == (index == 5)


def test_the_share_is_checked():
    with pytest.raises(ValueError, match='hide_below is 1.5'):
        TrackerOptions(hide_below=1.5)
