# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Contour accuracy F: special cases of its definition."""

import numpy as np
import pytest

from tam_ros.evaluation.boundary import boundary, contour_accuracy

EMPTY = np.zeros((100, 200), bool)


def square(left: int, top: int = 20, side: int = 40) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize(
    ('truth', 'prediction', 'expected'),
    [
        (square(50), square(50), 1.0),
        (square(50), square(52), 1.0),  # within the tolerance of 2 pixels
        (square(50), square(120), 0.0),
        (EMPTY, EMPTY, 1.0),
        (EMPTY, square(50), 0.0),
        (square(50), EMPTY, 0.0),
        (~EMPTY, EMPTY, 1.0),  # a full image has no boundary
    ],
)
def test_definition(truth, prediction, expected):
    assert contour_accuracy(truth, prediction) == expected


def test_only_two_sides_match_beyond_the_tolerance():
    # Shifted by 3 pixels the left and right sides miss; most of top and bottom match.
    assert 0.4 < contour_accuracy(square(50), square(53)) < 0.6


def test_boundary_pixels():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    assert boundary(mask).astype(int).tolist() == [
        [1, 1, 1, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_the_edge_of_the_image_is_not_a_boundary():
    mask = np.zeros((6, 6), bool)
    mask[:, 3:] = True
    assert boundary(mask).astype(int).tolist() == [[0, 0, 1, 0, 0, 0]] * 6


def test_void_pixels_are_ignored():
    extra = square(50) | square(150)
    assert contour_accuracy(square(50), extra) < 0.8
    assert contour_accuracy(square(50), extra, void=square(148, 18, 44)) == 1


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match='cannot be compared'):
        contour_accuracy(EMPTY, EMPTY.T)
