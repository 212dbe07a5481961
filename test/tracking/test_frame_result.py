# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Label images, boxes and centroids, and the merging of results."""

from __future__ import annotations

import numpy as np

from tam_ros.tracking import FrameResult, Prompt, Tracker
from tam_ros.tracking.frame_result import bounding_box, centroid, label_image, merge
from tracking.fake_runtime import FakeRuntime

IMAGE = np.zeros((48, 64, 3), np.uint8)


def test_overlapping_masks_are_shown_by_the_larger_logit():
    first = np.array([[1, 1, -1, -1]], np.float32)
    second = np.array([[-1, 3, 3, -1]], np.float32)
    assert label_image([7, 300], [first, second], 1, 4).tolist() == [[7, 300, 300, 0]]
    assert label_image([300, 7], [second, first], 1, 4).tolist() == [[7, 300, 300, 0]]
    assert label_image([], [], 1, 4).tolist() == [[0, 0, 0, 0]]


def test_box_and_centroid():
    mask = np.zeros((10, 20), bool)
    assert bounding_box(mask) is None and centroid(mask) is None
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
