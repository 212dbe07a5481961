# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The trackers with the bundled model on the clip of the demo."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros import catalogue
from tam_ros.demo.scene import DemoScene
from tam_ros.loading import open_runtime
from tam_ros.tracking import ClipTracker, Prompt, Tracker, TrackerOptions

NAME = 'efficienttam_nano'
pytestmark = pytest.mark.skipif(
    not (catalogue.engines_dir() / NAME).is_dir(), reason='no trained weights are bundled yet'
)


@pytest.fixture(scope='module')
def clip():
    """Return the first images of the clip and their labels."""
    scene = DemoScene()
    return [scene.frame(index) for index in range(22)]


def box_of(labels, number):
    rows, columns = np.nonzero(labels == number)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def overlap(ours, theirs):
    union = np.count_nonzero(ours | theirs)
    return np.count_nonzero(ours & theirs) / union if union else 1.0


def run(tracker, clip, prompts):
    """Return the masks of each image by object."""
    return [
        {item.id: item.mask for item in tracker.step(image, i / 15, prompts.get(i, ())).objects}
        for i, (image, _) in enumerate(clip)
    ]


def test_a_prompt_that_is_8_images_late_gives_the_masks_of_one_in_time(clip):
    """A new object, and a correction of a live one."""
    first = [Prompt.box(1, box_of(clip[0][1], 1))]
    rows, columns = np.nonzero(clip[4][1] == 1)
    on_it = [(float(columns.mean()), float(rows.mean()))]

    def prompts(stamp):
        return [
            Prompt.box(2, box_of(clip[4][1], 2), stamp=stamp),
            Prompt.points(1, on_it, [1], stamp=stamp),
        ]

    options = TrackerOptions(max_objects=2, prompt_history_seconds=1.0, catch_up=4)
    in_time = run(Tracker.open(NAME, options=options), clip, {0: first, 4: prompts(None)})
    late = run(Tracker.open(NAME, options=options), clip, {0: first, 12: prompts(4 / 15)})
    arrived = next(i for i in range(12, 22) if 2 in late[i])
    assert arrived <= 15, 'eight images, four per step, while one image arrives per step'
    for i in range(arrived, 22):
        for number in (1, 2):
            assert overlap(late[i][number], in_time[i][number]) >= 0.99, (i, number)


def test_late_prompts_need_the_documented_memory(clip):
    """The description of `prompt_history_seconds`: 1.0 MB an image and 0.15 MB for each object."""
    tracker = Tracker.open(NAME, options=TrackerOptions(max_objects=1, prompt_history_seconds=1.0))
    run(tracker, clip[:2], {0: [Prompt.box(1, box_of(clip[0][1], 1))]})
    frame = tracker._late._frames[-1]
    kept = (
        frame.context.network_input.nbytes
        + frame.features.raw.nbytes
        + frame.features.without_memory.nbytes
    )
    assert kept == pytest.approx(1.0e6, rel=0.05)
    memories, _ = tracker._runtime.read_row(0)
    assert memories[0].nbytes == pytest.approx(0.15e6, rel=0.05)
    assert len(memories) == 2 + 6 + tracker._options.prompt_history_frames


def test_saved_objects_continue_in_a_later_run(clip, tmp_path):
    before = Tracker.open(NAME, options=TrackerOptions(max_objects=2))
    prompts = [Prompt.mask(n, clip[0][1] == n) for n in (1, 2)]
    for i in range(12):
        before.step(clip[i][0], i / 15, [] if i else prompts)
    before.save(tmp_path / 'tracks')
    after = Tracker.open(NAME, options=TrackerOptions(max_objects=5, prompt_history_seconds=1.0))
    after.load(tmp_path / 'tracks')
    for i in range(12, 16):
        expected, found = before.step(clip[i][0], i / 15), after.step(clip[i][0], i / 15)
        assert [item.id for item in found.objects] == [1, 2]
        for one, two in zip(expected.objects, found.objects, strict=True):
            assert overlap(one.mask, two.mask) >= 0.999


def test_backwards_through_a_recording(clip):
    """Objects prompted on the last image are tracked back to the first."""
    tracker = ClipTracker(open_runtime(NAME), TrackerOptions(max_objects=2))
    image, labels = clip[-1]
    tracker.prompt(21, image, [Prompt.mask(n, labels == n) for n in (1, 2)])
    scores = []
    for i in range(21, -1, -1):
        frame = tracker.step(i, clip[i][0], reverse=True)
        scores.append([overlap(item.mask, clip[i][1] == item.id) for item in frame.objects])
    assert np.mean(scores, axis=0).min() > 0.7
