# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks on small examples; durations are not tested."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tracking.fake_runtime import FakeRuntime

from benchmark import accuracy, endurance, objects
from benchmark.document import replace_section, table
from tam_ros import catalogue
from tam_ros.evaluation.runner import evaluate_sequence
from tam_ros.tracking import Tracker, TrackerOptions

NAME = 'efficienttam_nano'
bundled = pytest.mark.skipif(
    not (catalogue.engines_dir() / NAME).is_dir(), reason='no trained weights are bundled yet'
)


def record(steps=1000, **values):
    made = endurance.Record.of(steps)
    made.rss[:], made.cpu[:], made.live[:] = 100e6, 0.05, 2
    for name, value in values.items():
        getattr(made, name)[:] = value
    return made


def test_growing_memory_and_time_are_found():
    assert record().rss_drift() == 0 and abs(record().time_drift()) < 1e-6
    growing = np.linspace(100e6, 103e6, 1000)
    assert record(rss=growing).rss_drift() == pytest.approx(0.024, abs=2e-3)
    # From 53 ms, in the middle of the first quarter of 800 steps, to 59 ms.
    slower = np.linspace(0.05, 0.06, 1000)
    assert record(cpu=slower).time_drift() == pytest.approx(0.113, abs=2e-3)
    # Growth before memory has settled does not count, nor do steps with more objects.
    early = np.full(1000, 100e6)
    early[: endurance.SETTLED] = 50e6
    assert record(rss=early).rss_drift() == 0
    live = np.repeat([1, 2], 500)
    mixed = record(live=np.tile([1, 2], 500), cpu=np.tile([0.05, 0.1], 500))
    assert abs(mixed.time_drift()) < 1e-6
    with pytest.raises(ValueError, match='too few'):
        record(live=live).time_drift()


def test_objects_are_added_and_removed():
    tracker = Tracker(FakeRuntime(), TrackerOptions(prompt_history_seconds=0.5))
    found = endurance.run(tracker, 1500)
    assert found.begun > 8 and len(found.rss) == 1500
    assert found.live.max() <= endurance.OBJECTS and len(set(found.live.tolist())) >= 3


@bundled
@pytest.mark.slow
def test_short_form_of_the_long_run(tmp_path):
    """300 steps of the real model: memory does not grow after the first 200.

    An image that stayed in memory on each step would be found: it has more than 80 kB.
    """
    small = f'{NAME}_256'
    tracker = Tracker.open(small, threads=1, options=TrackerOptions(prompt_history_seconds=0.5))
    found = endurance.run(tracker, 300)
    assert found.rss_drift() <= endurance.RSS_LIMIT
    text, _ = endurance.describe(found, tracker, 'short')
    assert '300 steps' in text and '**flat within 2%**' in text
    endurance.plot(found, tmp_path / 'plot.png')
    with Image.open(tmp_path / 'plot.png') as picture:
        assert np.asarray(picture.convert('L')).std() > 5


@bundled
@pytest.mark.slow
def test_batch_and_loop_give_the_same_masks():
    """Both variants whose times are compared do the same work."""
    scene = objects.MovingDiscs(2, (120, 160))
    prompts = objects.boxes_on_a_grid(2, (120, 160))
    batched = Tracker.open(NAME, options=TrackerOptions(max_objects=2))
    encoded = {}
    single = [
        Tracker(
            objects.SharedEncoder(objects.open_runtime(NAME), encoded),
            TrackerOptions(max_objects=1),
        )
        for _ in range(2)
    ]
    for index in range(4):
        image, _ = scene.frame(index)
        given = prompts if index == 0 else []
        together = batched.step(image, index / 10, given).objects
        for number, tracker in enumerate(single):
            (alone,) = tracker.step(image, index / 10, given[number : number + 1]).objects
            np.testing.assert_allclose(alone.logits, together[number].logits, atol=1e-2)
        assert len(encoded) == 1
    assert all(seconds > 0 for seconds in objects.measure(NAME, None, 'onnxruntime', 1, 1, 2))


def test_given_masks_are_scored_like_a_tracker(tmp_path):
    frames = []
    for index in range(4):
        labels = np.zeros((20, 30), np.uint8)
        labels[5:15, 2 + index : 12 + index] = 1
        Image.fromarray(labels * 255).save(tmp_path / f'{index:05}.png')
        frames.append((np.zeros((20, 30, 3), np.uint8), labels))

    class Sequence(list):
        name = 'artificial'

    scores = evaluate_sequence(accuracy.StoredMasks(tmp_path), Sequence(frames), 'mask')
    assert scores.objects[0].j == [1.0] * len(scores.objects[0].j)
    assert accuracy.predicted(tmp_path, Sequence(frames)) == 1.0
    assert accuracy.predicted(tmp_path / 'none', Sequence(frames)) is None


def test_tables_replace_their_section(tmp_path):
    text = table(['a', 'b'], [['1', '2']])
    assert text.splitlines() == ['| a | b |', '| --- | --- |', '| 1 | 2 |']
    with pytest.raises(ValueError, match='1 cells under 2 heads'):
        table(['a', 'b'], [['1']])
    path = tmp_path / 'doc.md'
    path.write_text('before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n')
    replace_section(path, 'x', text)
    assert path.read_text() == f'before\n<!-- x: begin -->\n{text}\n<!-- x: end -->\nafter\n'
    with pytest.raises(ValueError, match='has 0 places'):
        replace_section(path, 'y', text)
