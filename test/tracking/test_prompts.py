# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts refuse what cannot be meant, in words for whoever sent it."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.tracking import Prompt, PromptError
from tam_ros.tracking.prior import draw_prior

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Prompt.points(1, [], []), 'at least one point'),
        # labels and points differ in number, either way round
        (lambda: Prompt.points(1, [(1, 2)], []), '1 points but 0 labels'),
        (lambda: Prompt.points(1, [(1, 2)], [1, 1]), '1 points but 2 labels'),
        # a label of a box corner is not for users
        (lambda: Prompt.points(1, [(1, 2)], [2]), 'labels of points are 1'),
        (lambda: Prompt.points(1, [(1, 2, 3)], [1]), r'array \[P, 2\]'),
        (lambda: Prompt.points(1, [(NAN, 2)], [1]), 'not finite'),
        (lambda: Prompt.points(1, [(1, INF)], [1]), 'not finite'),
        (lambda: Prompt.points(1, [('a', 'b')], [1]), 'not numbers'),
        # ids
        (lambda: Prompt.points(-1, [(1, 2)], [1]), 'object id -1'),
        (lambda: Prompt.points(65536, [(1, 2)], [1]), 'object id 65536'),
        (lambda: Prompt.points(1.5, [(1, 2)], [1]), 'object id 1.5'),
        (lambda: Prompt.points('cup', [(1, 2)], [1]), 'object id cup'),
        (lambda: Prompt.points(NAN, [(1, 2)], [1]), 'object id nan'),
        # boxes: swapped in x, swapped in y, empty, too few numbers, not finite
        (lambda: Prompt.box(1, (9, 1, 3, 5)), 'corners swapped'),
        (lambda: Prompt.box(1, (1, 9, 3, 5)), 'corners swapped'),
        (lambda: Prompt.box(1, (1, 1, 1, 5)), 'empty'),
        (lambda: Prompt.box(1, (1, 1, 5)), 'four numbers'),
        (lambda: Prompt.box(1, (1, 1, 5, NAN)), 'not finite'),
        (lambda: Prompt.box(1, (1, 1, 5, 5), points=[(2, 2)]), '1 points but 0 labels'),
        # masks
        (lambda: Prompt.mask(1, np.zeros((4, 4), bool)), 'empty'),
        (lambda: Prompt.mask(1, np.ones((4, 4, 3))), r'\[height, width\]'),
    ],
)
def test_refused_when_made(make, message):
    with pytest.raises(PromptError, match=message):
        make()


@pytest.mark.parametrize(
    ('prompt', 'message'),
    [
        (Prompt.points(1, [(640, 10)], [1]), r'point \(640, 10\) lies outside the image 640x480'),
        (Prompt.points(1, [(5, 5), (-1, 10)], [1, 0]), r'point \(-1, 10\)'),
        (Prompt.box(1, (700, 10, 800, 20)), 'box .* outside'),
        (Prompt.box(1, (10, 10, 50, 50), [(5, 480)], [1]), r'point \(5, 480\)'),
        (Prompt.mask(1, np.ones((10, 20), bool)), '20x10 but the image 640x480'),
    ],
)
def test_refused_on_an_image(prompt, message):
    with pytest.raises(PromptError, match=message):
        prompt.check_image(480, 640)


@pytest.mark.parametrize(
    'prompt',
    [
        Prompt.points(0, [(0, 0), (639, 479)], [1, 0]),  # the corners are inside
        Prompt.box(65535, (-20, -20, 700, 500)),  # a box may reach beyond the image
        Prompt.box(1, (10, 10, 50, 50), [(20, 20)], [0]),
        Prompt.mask(1, np.eye(480, 640)),
    ],
)
def test_accepted(prompt):
    prompt.check_image(480, 640)


def test_box_with_clicks_puts_its_corners_first():
    prompt = Prompt.box(3, (1, 2, 5, 6), [(3, 4)], [1])
    assert prompt.points_xy.tolist() == [[1, 2], [5, 6], [3, 4]]
    assert prompt.labels.tolist() == [2, 3, 1]


def test_prior_of_a_box_is_its_rectangle():
    prior = draw_prior(np.array([[0.25, 0.5], [0.75, 1.0]], np.float32), np.array([2, 3]), 8)
    expected = np.full((8, 8), -10.0)
    expected[4:, 2:6] = 3
    np.testing.assert_allclose(prior, expected)


def test_prior_of_clicks_peaks_on_the_positive_ones_only():
    points = np.array([[0.25, 0.25], [0.75, 0.75]], np.float32)
    prior = draw_prior(points, np.array([1, 0]), 64)
    assert np.unravel_index(prior.argmax(), prior.shape) in {
        (15, 15),
        (15, 16),
        (16, 15),
        (16, 16),
    }
    assert prior.max() > 2.5 and prior[48, 48] < -9.9
    assert draw_prior(points, np.array([0, 0]), 64) is None
