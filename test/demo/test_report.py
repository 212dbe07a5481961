# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The review and the summary of a bag with known content."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tam_ros.demo.report import summarize
from tam_ros.demo.review import (
    SHEET_TILES,
    TRUTH_TOPIC,
    review,
    write_sheet,
)
from tam_ros.interfaces import IMAGE_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.frames import Header
from tam_ros.io.open_source import open_source

PERIOD_NS = 10**8
START_NS = 1_700_000_000 * 10**9


def square(columns: slice, label: int) -> np.ndarray:
    image = np.zeros((48, 64), np.uint8)
    image[10:20, columns] = label
    return image


def record(path: Path, frames: int = 30, with_truth: bool = True) -> Path:
    """Every third image is not tracked; the masks have a third of object 1, none of object 2."""
    truth = square(slice(10, 30), 1) + square(slice(40, 50), 2)
    labels = square(slice(20, 40), 1)
    item = SimpleNamespace(
        id=1,
        state='visible',
        score=0.5,
        box=(20, 10, 40, 20),
        centroid=(29.5, 14.5),
        area=200,
        age_frames=1,
        age_seconds=0.1,
    )
    with BagWriter(path) as bag:
        for index in range(frames):
            header = Header(START_NS + index * PERIOD_NS, 'camera')
            bag.write_image(IMAGE_TOPIC, header, np.full((48, 64, 3), 90, np.uint8))
            if with_truth:
                bag.write_labels(TRUTH_TOPIC, header, truth)
            if index % 3:
                bag.write_labels(LABELS_TOPIC, header, labels)
                bag.write_objects(OBJECTS_TOPIC, header, (48, 64), [item])
    return path


def arrivals(frames: int = 30) -> list[tuple[int, int]]:
    stamps = [START_NS + index * PERIOD_NS for index in range(frames) if index % 3]
    return [(stamp, stamp + 80_000_000) for stamp in stamps]


STATUS = {'model': 'nano', 'weights': 'untrained, seed 0', 'runtime': 'onnxruntime', 'frames': '9'}


def test_numbers(tmp_path):
    result = review(record(tmp_path / 'r.mcap'), [1, 2], 20, tmp_path / 'o.mp4', 6.7)
    summary = summarize(result, arrivals(), STATUS)
    assert (summary.frames, summary.tracked, summary.dropped) == (30, 20, 10)
    assert summary.camera_rate_hz == pytest.approx(10)
    assert summary.rate_hz == pytest.approx(19 / 2.8)
    assert (summary.age_ms_p50, summary.age_ms_p95) == pytest.approx((80, 80))
    assert summary.j_objects == {1: pytest.approx(1 / 3), 2: 0}
    assert summary.j_mean == pytest.approx(1 / 6)
    assert (summary.model, summary.runtime) == ('nano', 'onnxruntime')


def test_json_has_the_agreed_keys(tmp_path):
    result = review(record(tmp_path / 'r.mcap'), [1, 2], 20, tmp_path / 'o.mp4', 6.7)
    summarize(result, arrivals(), STATUS).write(tmp_path / 'summary.json')
    written = json.loads((tmp_path / 'summary.json').read_text())
    agreed = {'frames', 'rate_hz', 'age_ms_p50', 'dropped', 'j_mean', 'weights', 'runtime'}
    assert agreed <= written.keys()
    assert written['weights'] == 'untrained, seed 0'


def test_without_truth_there_is_no_j(tmp_path):
    bag = record(tmp_path / 'r.mcap', with_truth=False)
    summary = summarize(review(bag, [1], 20, tmp_path / 'o.mp4', 6.7), arrivals(), STATUS)
    assert summary.j_mean is None and summary.j_objects is None
    assert 'J' not in ' '.join(summary.lines())


def test_only_prompted_objects_count(tmp_path):
    bag = record(tmp_path / 'r.mcap')
    summary = summarize(review(bag, [1, 5], 20, tmp_path / 'o.mp4', 6.7), arrivals(), STATUS)
    assert summary.j_objects == {1: pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ('weights', 'said'), [('untrained, seed 0', True), ('bundled, fp16', False)]
)
def test_untrained_weights_are_named_in_plain_words(tmp_path, weights, said):
    result = review(record(tmp_path / 'r.mcap'), [1], 20, tmp_path / 'o.mp4', 6.7)
    summary = summarize(result, arrivals(), {**STATUS, 'weights': weights})
    assert summary.untrained == said
    assert ('UNTRAINED' in ' '.join(summary.lines())) == said


def test_pictures(tmp_path):
    result = review(record(tmp_path / 'r.mcap'), [1, 2], 20, tmp_path / 'o.mp4', 6.7)
    video = open_source(tmp_path / 'o.mp4')
    assert len(list(video)) == 20 and video.rate_hz == pytest.approx(6.7, rel=0.01)
    assert len(result.tiles) == SHEET_TILES
    assert result.tiles[0].caption == '0.1 s    J of object 1: 0.33, 2: 0.00'
    white = (result.tiles[0].rgb == 255).all(axis=2)
    assert white[10, 10:30].all(), 'the truth must be outlined'
    write_sheet(result.tiles, tmp_path / 's.png', 'title', ['note'])
    assert Image.open(tmp_path / 's.png').size[0] > 1000


def test_a_run_with_a_single_result(tmp_path):
    bag = record(tmp_path / 'r.mcap', frames=2)
    result = review(bag, [1, 2], 1, tmp_path / 'o.mp4', 10)
    summary = summarize(result, arrivals(2), STATUS)
    assert (summary.frames, summary.tracked, summary.rate_hz) == (2, 1, None)
    assert 'unknown' in summary.lines()[1]
    assert len(result.tiles) == 1
