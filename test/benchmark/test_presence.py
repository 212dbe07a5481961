# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Clips that turn away from their object, and the count of masks without one."""

from __future__ import annotations

import numpy as np
from tracking.fake_runtime import FakeRuntime

from benchmark import presence
from tam_ros.tracking import Tracker, TrackerOptions


class Sequence(list):
    name = 'artificial'


def sequence(height=480, width=640, frames=40):
    """An object on the left, in images whose pixels tell where they were cut out."""
    labels = np.zeros((height, width), np.uint8)
    labels[200:260, 40:100] = 1
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows // 4, columns // 4, rows * 0], -1).astype(np.uint8)
    return Sequence([(image, labels)] * frames)


def test_the_window_turns_away_from_the_object():
    clip = list(presence.away(sequence()))
    assert len(clip) == presence.LENGTH
    assert all(image.shape == (*presence.WINDOW, 3) for image, _ in clip)
    seen = [bool(truth.any()) for _, truth in clip]
    assert all(seen[: presence.LOOKS]) and not any(seen[presence.LOOKS + presence.TURNS :])
    assert clip[0][1].sum() == 60 * 60, 'all of it is in the window at first'
    assert clip[-1][0][..., 1].min() >= (640 - 300) // 4, 'the far side of the image'


def test_masks_without_an_object_are_counted():
    tracker = Tracker(FakeRuntime(), TrackerOptions(max_objects=1))
    found = presence.false_presence(tracker, [sequence()])
    assert found.absent > 60 and found.masks == found.absent, 'the fake sees it everywhere'
    runtime = FakeRuntime()
    runtime.present = False
    found = presence.false_presence(Tracker(runtime, TrackerOptions(max_objects=1)), [sequence()])
    assert found.masks == 0
