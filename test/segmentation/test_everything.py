# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Everything mode, with a model that knows some squares and answers by rule."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.segmentation.base import Decoded, Embedding, PromptableModel
from tam_ros.segmentation.everything import (
    EverythingOptions,
    distinct,
    grid,
    propose,
    remove_small_regions,
)

SIDE = 64
SQUARES = ((4, 4, 20, 20), (30, 8, 60, 28), (10, 40, 26, 60))


class SquaresModel(PromptableModel):
    """A click in a square gives the square as candidate 1 and its left half as candidate 2.

    Candidate 3 is the click's surroundings, of which it is not sure. The mask of a prompt is
    answered by itself, of which it is surer.
    """

    name, runtime, weights = 'squares', 'none', 'none'
    mask_size, max_points = SIDE, 7

    def __init__(self, ious=(0.9, 0.85, 0.3), slope=10.0):
        self.ious, self.slope = ious, slope
        self.batches = []

    def encode(self, image):
        return Embedding(None, image.shape[:2])

    def decode(self, embedding, prompts):
        self.batches.append(len(prompts.points))
        logits = np.full((len(prompts.points), 4, SIDE, SIDE), -self.slope, np.float32)
        ious = np.full((len(prompts.points), 4), 0.05, np.float32)
        for row, ((x, y),) in enumerate(prompts.points * SIDE / embedding.size[::-1]):
            if prompts.masks is not None:
                logits[row, 0], ious[row, 0] = prompts.masks[row], 0.95
                continue
            for x0, y0, x1, y1 in SQUARES:
                if x0 <= x < x1 and y0 <= y < y1:
                    logits[row, 1, y0:y1, x0:x1] = self.slope
                    logits[row, 2, y0:y1, x0 : (x0 + x1) // 2] = self.slope
                    logits[row, 3, int(y) : int(y) + 2, int(x) : int(x) + 2] = self.slope
                    ious[row, 1:] = self.ious
        return Decoded(logits, ious)

    def choose(self, decoded):
        return np.zeros(len(decoded.ious), np.intp)

    def enlarge(self, logits, size):
        assert size == (SIDE, SIDE)
        return logits

    def shrink(self, mask):
        raise AssertionError('no mask is given')

    def close(self):
        pass


def everything(model=None, **options):
    options = {'points_per_side': 8, 'min_stability': 0.9, **options}
    return propose(
        model or SquaresModel(), Embedding(None, (SIDE, SIDE)), EverythingOptions(**options)
    )


def boxes(found):
    return sorted(one.box for one in found)


def test_the_grid_covers_the_image_evenly():
    points = grid(4, (240, 320))
    assert points.dtype == np.float32 and len(points) == 16
    assert points[0].tolist() == [40, 30] and points[-1].tolist() == [280, 210]
    assert points[1].tolist() == [120, 30], 'row by row'


def test_each_object_is_found_once_with_its_parts():
    halves = [(x0, y0, (x0 + x1) // 2, y1) for x0, y0, x1, y1 in SQUARES]
    found = everything()
    assert boxes(found) == sorted([*SQUARES, *halves])
    ious = [one.predicted_iou for one in found]
    assert ious == sorted(ious, reverse=True)
    for one in found:
        x0, y0, x1, y1 = one.box
        assert one.mask.shape == (SIDE, SIDE) and one.area == one.mask.sum()
        assert one.mask[y0:y1, x0:x1].all() and one.stability == 1
        assert one.mask[int(one.point[1]), int(one.point[0])] or one.box in halves


def test_masks_that_the_model_is_unsure_of_are_dropped():
    assert boxes(everything(min_predicted_iou=0.87)) == sorted(SQUARES)
    assert everything(min_predicted_iou=0.95) == []


def test_masks_that_depend_on_their_threshold_are_dropped():
    assert everything(SquaresModel(slope=0.5)) == []
    assert len(everything(SquaresModel(slope=0.5), min_stability=0)) == 6


def test_masks_that_overlap_are_one_object():
    """The half of a square has an IoU of 0.5 with it."""
    assert boxes(everything(max_box_iou=0.4)) == sorted(SQUARES)
    assert boxes(everything(max_mask_iou=0.4)) == sorted(SQUARES)
    clicks = sum(
        x0 <= x < x1 and y0 <= y < y1
        for x, y in grid(8, (SIDE, SIDE))
        for x0, y0, x1, y1 in SQUARES
    )
    assert len(everything(max_box_iou=1)) == 2 * clicks


def test_clicks_run_in_batches():
    model = SquaresModel()
    everything(model, points_per_batch=24)
    assert model.batches == [24, 24, 16]
    whole = SquaresModel()
    assert boxes(everything(whole, points_per_batch=64)) == boxes(everything())
    assert whole.batches == [64]


def test_refined_masks_are_judged_by_the_second_look():
    model = SquaresModel(ious=(0.6, 0.5, 0.4))
    assert everything(model) == []
    found = everything(model, refine=True, points_per_batch=50)
    assert set(SQUARES) <= set(boxes(found))
    assert {round(one.predicted_iou, 3) for one in found} == {0.95}
    assert model.batches == [*[16] * 4, 50, 50, 50, 50, 14, 42]


def test_masks_of_a_wrong_size_are_dropped():
    large = everything(min_area=500, min_predicted_iou=0.87)
    assert boxes(large) == [(30, 8, 60, 28)]
    small = everything(max_area=500 / SIDE**2, min_predicted_iou=0.87)
    assert boxes(small) == [(4, 4, 20, 20), (10, 40, 26, 60)]


def test_small_regions_are_removed_and_what_becomes_the_same_is_one():
    model = SquaresModel()
    decode = model.decode

    def spotted(embedding, prompts):
        found = decode(embedding, prompts)
        found.logits[:, 2] = found.logits[:, 1]  # the square with a hole and an island, better
        found.logits[:, 2, 10, 10] *= -1
        found.logits[:, 2, 62, 62] = 10
        found.ious[:, 2] = np.where(found.ious[:, 1] > 0.8, 0.99, 0.05)
        return found

    model.decode = spotted
    found = everything(model, min_region=9)
    assert boxes(found) == sorted(SQUARES)
    assert [one.predicted_iou for one in found] == pytest.approx([0.9] * 3)
    assert all(one.mask.sum() == one.area for one in found)


def test_nothing_is_found_where_there_is_nothing():
    model = SquaresModel(ious=(0, 0, 0))
    assert everything(model) == everything(model, min_region=20, refine=False) == []


def test_holes_islands_and_the_only_part():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    assert remove_small_regions(mask, 10) is mask
    spotted = mask.copy()
    spotted[5, 5] = False
    spotted[15:17, 15:17] = True
    assert np.array_equal(remove_small_regions(spotted, 5), mask)
    only = np.zeros((20, 20), bool)
    only[3:5, 3:5] = only[10, 10] = True
    assert remove_small_regions(only, 50).sum() == 4, 'the largest part stays'
    assert remove_small_regions(np.ones((5, 5), bool), 50).all()
    assert not remove_small_regions(np.zeros((5, 5), bool), 3).any()


def test_distinct_boxes():
    same = np.array([(0, 0, 10, 10), (0, 0, 10, 10), (50, 50, 60, 60), (0, 1, 10, 11)])
    assert distinct(same, 0.7) == [0, 2]
    assert distinct(same, 1.0) == [0, 1, 2, 3]
    assert distinct(np.zeros((0, 4), int), 0.5) == []
    # One pixel has no extent between the centres of its outermost pixels.
    assert distinct(np.array([(0, 0, 1, 1), (5, 5, 6, 6)]), 0.5) == [0, 1]


@pytest.mark.parametrize(
    'wrong',
    [
        {'points_per_side': 0},
        {'points_per_side': 129},
        {'points_per_batch': 0},
        {'min_predicted_iou': 1.1},
        {'min_stability': -0.1},
        {'max_box_iou': float('nan')},
        {'max_area': 2},
        {'min_region': -1},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EverythingOptions(**wrong)


def test_the_bundled_model_has_thresholds_of_its_own():
    official, bundled = (
        EverythingOptions.of('efficienttam_s'),
        EverythingOptions.of('efficienttam_nano', points_per_side=4),
    )
    assert official == EverythingOptions() and official.min_stability == 0.95
    assert bundled.points_per_side == 4 and bundled.min_predicted_iou < 0.8
