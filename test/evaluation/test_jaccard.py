# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Region similarity J: special cases of its definition."""

import numpy as np
import pytest

from tam_ros.evaluation.jaccard import (
    VOID,
    label_similarity,
    mean_over_objects,
    region_similarity,
)


def mask(*rows: str) -> np.ndarray:
    """Return the mask drawn by rows of '#' and '.'."""
    return np.array([[letter == '#' for letter in row] for row in rows])


@pytest.mark.parametrize(
    ('truth', 'prediction', 'expected'),
    [
        (mask('##..'), mask('##..'), 1.0),
        (mask('##..'), mask('.##.'), 1 / 3),
        (mask('##..'), mask('..##'), 0.0),
        (mask('....'), mask('....'), 1.0),  # absent and not found
        (mask('....'), mask('#...'), 0.0),  # false positive
        (mask('#...'), mask('....'), 0.0),  # false negative
    ],
)
def test_definition(truth, prediction, expected):
    assert region_similarity(truth, prediction) == pytest.approx(expected, abs=0)


def test_void_pixels_are_ignored():
    truth = np.array([[1, 1, VOID, 0]])
    assert label_similarity(truth, np.array([[1, 1, 1, 0]]), [1]) == {1: 1.0}
    assert label_similarity(truth, np.array([[1, 0, 1, 1]]), [1]) == {1: 1 / 3}


def test_absent_and_unknown_labels():
    truth = np.array([[1, 1, 2, 0]], np.uint8)
    prediction = np.array([[1, 1, 7, 0]], np.uint16)
    assert label_similarity(truth, prediction, [1, 2]) == {1: 1.0, 2: 0.0}


def test_the_mean_is_over_objects():
    frames = [{1: 1.0, 2: 0.0}, {1: 0.5, 2: 0.5}]
    assert mean_over_objects(frames) == pytest.approx((0.75 + 0.25) / 2)


@pytest.mark.parametrize('frames', [[], [{}]])
def test_nothing_to_average(frames):
    with pytest.raises(ValueError, match='no frame or no object'):
        mean_over_objects(frames)


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match='cannot be compared'):
        region_similarity(np.zeros((4, 5), bool), np.zeros((5, 4), bool))
