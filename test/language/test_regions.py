# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Regions of a map become boxes and points inside them, in pixels of the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tam_ros.language.arrays import cubic, linear, unit
from tam_ros.language.regions import find_regions, probabilities


@pytest.mark.parametrize(('outputs', 'inputs'), [(6, 14), (14, 14), (30, 7), (1, 7), (9, 1)])
@pytest.mark.parametrize('kind', ['linear', 'cubic'])
def test_resampling_is_that_of_pytorch(outputs, inputs, kind):
    weights = {'linear': linear, 'cubic': cubic}[kind](outputs, inputs)
    values = torch.randn(1, 1, inputs, inputs, generator=torch.Generator().manual_seed(0))
    mode = f'bi{kind}'
    wanted = torch.nn.functional.interpolate(
        values, size=(outputs, outputs), mode=mode, align_corners=False
    )
    found = weights @ values[0, 0].numpy() @ weights.T
    np.testing.assert_allclose(found, wanted[0, 0], atol=2e-6)


def test_unit_vectors():
    found = unit(np.array([[3, 4], [0, 0]], np.float32))
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def map_of(*boxes, shape=(12, 16)):
    made = np.zeros((1, *shape), np.float32)
    for x0, y0, x1, y1 in boxes:
        made[0, y0:y1, x0:x1] = 0.9
    return made


def test_regions_in_pixels():
    finds = find_regions(map_of((1, 1, 4, 5), (8, 6, 16, 12)), (120, 160))
    assert len(finds) == 2
    small, large = sorted(finds, key=lambda find: find.area)
    assert np.abs(np.subtract(small.box, (10, 10, 40, 50))).max() <= 5
    assert np.abs(np.subtract(large.box, (80, 60, 160, 120))).max() <= 5
    assert np.abs(np.subtract(small.point, (25, 30))).max() <= 6
    assert all(0.5 < find.score <= 0.9 and find.text == 0 for find in finds)


def test_the_point_is_inside_a_region_that_is_not_convex():
    ring = map_of((2, 2, 14, 11))
    ring[0, 4:9, 4:12] = 0
    (find,) = find_regions(ring, (120, 160))
    x, y = find.point
    column, row = int(x / 10), int(y / 10)
    assert ring[0, row, column] > 0.5, 'the middle of the box is the hole'


def test_a_region_at_the_edge_has_its_point_away_from_it():
    (find,) = find_regions(map_of((0, 0, 16, 12)), (120, 160))
    assert np.abs(np.subtract(find.point, (80, 60))).max() <= 21  # of the ridge in the middle


def test_padding_is_not_part_of_the_image():
    # The image covers 3/4 of the map's height.
    finds = find_regions(map_of((0, 6, 16, 12)), (90, 160), covered=(0.75, 1.0))
    (find,) = finds
    assert find.box[3] == 90 and abs(find.box[1] - 60) <= 5


def test_specks_are_left_out_and_said():
    speck = np.zeros((1, 12, 16), np.float32)
    speck[0, 5, 5] = 0.55
    finds = find_regions(speck, (120, 160))
    assert not finds and 'nothing that is large enough' in finds.reason(0, 'mug')


def test_the_best_come_first():
    likely = map_of((1, 1, 5, 5))
    likely[0, 7:11, 9:14] = 1
    finds = find_regions(likely, (120, 160), most=1)
    assert len(finds) == 1 and finds[0].box[0] > 80


def test_a_text_competes_with_the_others_and_with_the_image():
    scores = np.full((2, 4, 4), 0.2, np.float32)
    scores[0, 0, 0] = 0.3
    alone = probabilities(scores[:1], 1, 0.03)
    assert alone[0, 0, 0] > 0.99 and alone[0, 1, 1] < 0.05
    assert probabilities(scores[:1] + 0.4, 1, 0.03) == pytest.approx(alone, abs=1e-4)
    scores[1, 0, 0] = 0.35
    assert probabilities(scores, 1, 0.03)[0, 0, 0] < 0.01
    both = probabilities(scores, 2, 0.03)
    assert both.shape == (2, 4, 4) and (both.sum(axis=0) <= 1).all()


def test_extreme_similarities_stay_finite():
    scores = np.ones((2, 4, 4), np.float32)
    scores[0, :2], scores[1] = -1, -1
    with np.errstate(all='raise', under='ignore'):
        found = probabilities(scores, 2, 2.0)
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
