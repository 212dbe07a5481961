# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Label images, boxes and centroids, and the merging of results."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from tam_ros.tracking import FrameResult, Prompt, Tracker
from tam_ros.tracking.frame_pipeline import FrameContext, StageClock
from tam_ros.tracking.frame_result import (
    LabelImage,
    bounding_box,
    centroid,
    describe,
    enlarge,
    merge,
)
from tam_ros.tracking.mask_prediction import MaskPrediction
from tam_ros.tracking.objects import ObjectMemory
from tracking.fake_runtime import FakeRuntime

IMAGE = np.zeros((48, 64, 3), np.uint8)


def test_overlapping_masks_are_shown_by_the_larger_logit():
    first = np.array([[1, 1, -1, -1]], np.float32)
    second = np.array([[-1, 3, 3, -1]], np.float32)
    for order in (1, -1):
        image = LabelImage(1, 4)
        assert image.labels.tolist() == [[0, 0, 0, 0]]
        for number, logits in [(7, first), (300, second)][::order]:
            image.add(number, logits, bounding_box(logits > 0))
        image.add(5, -first, None)
        assert image.labels.tolist() == [[7, 300, 300, 0]]


def test_box_and_centroid():
    mask = np.zeros((10, 20), bool)
    assert bounding_box(mask) is None
    mask[2:5, 7:11] = True
    assert bounding_box(mask) == (7, 2, 11, 5)
    assert centroid(mask) == (8.5, 3.0)


def test_merged_results_equal_the_result_of_all_objects():
    def track(numbers: list[int]) -> FrameResult:
        tracker = Tracker(FakeRuntime())
        # The logits of an object of the fake runtime depend on its position in the batch.
        return tracker.step(IMAGE, 0.0, [Prompt.points(n, [(12 * n, 20)], [1]) for n in numbers])

    merged, whole = merge([track([3, 1]), track([2])]), track([1, 2, 3])
    assert [item.id for item in merged.objects] == [1, 2, 3]
    assert set(np.unique(merged.labels)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(merged.labels > 0, whole.labels > 0)


def described(size, count, side=24):
    """Return the logits of overlapping objects, the last one absent, and the result."""
    random = np.random.default_rng(count)
    logits = {
        number: cv2.GaussianBlur(random.normal(-1, 4, (side, side)).astype('f4'), (7, 7), 2)
        for number in range(1, count)
    }
    logits[count] = np.full((side, side), -1024, np.float32)
    memories = {number: ObjectMemory(number, 0, None, 0, 0.0, 0.0) for number in logits}
    predictions = {number: MaskPrediction(one, 2.0, None) for number, one in logits.items()}
    context = FrameContext(3, 0.3, size, None)
    return logits, describe(memories, predictions, context, 0.3, 2.0, StageClock())


@pytest.mark.parametrize('size', [(48, 64), (131, 77)])
@pytest.mark.parametrize('count', [2, 3, 9])
def test_the_result_is_that_of_whole_masks(size, count):
    logits, frame = described(size, count)
    logits = {number: enlarge(one, *size) for number, one in logits.items()}
    stack = np.stack(list(logits.values()))
    labels = np.where(stack.max(0) > 0, stack.argmax(0) + 1, 0)
    np.testing.assert_array_equal(frame.labels, labels)
    assert frame.labels.dtype == np.uint16
    for item in frame.objects:
        mask = logits[item.id] > 0
        np.testing.assert_array_equal(item.mask, mask)
        assert item.box == bounding_box(mask)
        assert item.area == mask.sum()
        assert item.crop.base is None, 'no whole mask is kept'
        if item.box is None:
            assert (item.id, item.centroid, item.crop.size) == (count, None, 0)
        else:
            rows, columns = np.nonzero(mask)
            assert item.centroid == pytest.approx((columns.mean(), rows.mean()))
    assert [item.box is None for item in frame.objects] == [False] * (count - 1) + [True]


def test_which_pixels_an_object_covers():
    logits, frame = described((20, 30), 2)
    shown, absent = frame.objects
    mask = enlarge(logits[1], 20, 30) > 0
    for y in range(-1, 21):
        for x in range(-1, 31):
            inside = 0 <= y < 20 and 0 <= x < 30
            assert shown.covers(x, y) == (inside and bool(mask[y, x]))
            assert not absent.covers(x, y)


def test_the_memory_of_a_step_does_not_grow_with_the_objects():
    """Whole masks and logits of all objects were 9 bytes for each pixel and object."""

    def peak(count):
        tracemalloc.start()
        try:
            described((600, 800), count)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(12) - peak(2) < 10 * 600 * 800 * 1.5, 'at most a whole mask each'
