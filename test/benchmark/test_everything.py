# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of everything mode: what counts as found."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.everything import measure, overlay
from tam_ros.segmentation import EverythingOptions, Proposal

IMAGE = np.zeros((20, 30, 3), np.uint8)


def proposal(x0, x1):
    mask = np.zeros((20, 30), bool)
    mask[5:15, x0:x1] = True
    return Proposal(mask, (x0, 5, x1, 15), int(mask.sum()), 0.9, 0.9, (x0, 10))


class Segmenter:
    """It finds two masks in every image."""

    def set_image(self, image):
        assert image is IMAGE

    def everything(self, options):
        return [proposal(0, 10), proposal(20, 23)]


def test_objects_are_found_if_a_mask_covers_more_than_half_of_the_union():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 2:10] = 1  # IoU 0.8
    labels[5:15, 20:30] = 2  # 0.3
    labels[0, :] = 255  # void
    row = measure(Segmenter(), [(IMAGE, labels), (IMAGE, labels)], EverythingOptions())
    assert (row.masks, row.found, row.objects) == (2, 2, 4)
    assert row.seconds >= 0


def test_nothing_found_and_nothing_annotated():
    segmenter = Segmenter()
    segmenter.everything = lambda options: []
    row = measure(segmenter, [(IMAGE, np.ones((20, 30), np.uint8))], EverythingOptions())
    assert (row.masks, row.found, row.objects) == (0, 0, 1)
    assert measure(segmenter, [(IMAGE, IMAGE[..., 0])], EverythingOptions()).objects == 0


@pytest.mark.parametrize('order', [1, -1])
def test_smaller_masks_are_drawn_on_top(order):
    small, large = proposal(4, 8), proposal(0, 20)
    drawn = overlay(IMAGE, [small, large][::order])
    assert (drawn[10, 6] != drawn[10, 15]).any()
