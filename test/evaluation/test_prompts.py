# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts made from ground truth."""

import numpy as np
import pytest

from tam_ros.evaluation.prompts import KINDS, prompt_from_truth
from tam_ros.tracking import PromptError


@pytest.fixture
def mask() -> np.ndarray:
    """A square of 21x21 pixels with a long thin arm, so that its centroid is off the square."""
    mask = np.zeros((60, 120), bool)
    mask[20:41, 10:31] = True
    mask[30, 31:110] = True
    return mask


def test_mask(mask):
    assert np.array_equal(prompt_from_truth('mask', 3, mask).mask_image, mask)


def test_a_box_is_the_bounding_box(mask):
    prompt = prompt_from_truth('box', 3, mask)
    assert prompt.points_xy.tolist() == [[10, 20], [110, 41]]
    assert prompt.labels.tolist() == [2, 3]


def test_a_click_is_farthest_from_the_background(mask):
    prompt = prompt_from_truth('click', 3, mask)
    assert prompt.points_xy.tolist() == [[20, 30]]
    assert prompt.labels.tolist() == [1]


def test_the_outside_of_the_image_is_background():
    prompt = prompt_from_truth('click', 1, np.ones((21, 21), bool))
    assert prompt.points_xy.tolist() == [[10, 10]]


@pytest.mark.parametrize('kind', KINDS)
def test_one_pixel_is_enough(kind):
    mask = np.zeros((5, 6), bool)
    mask[0, 5] = True
    prompt = prompt_from_truth(kind, 9, mask)
    assert prompt.object_id == 9
    prompt.check_image(5, 6)


@pytest.mark.parametrize('kind', KINDS)
def test_an_empty_mask(kind):
    with pytest.raises(PromptError, match='empty'):
        prompt_from_truth(kind, 1, np.zeros((5, 6), bool))


def test_unknown_kind(mask):
    with pytest.raises(ValueError, match='mask, box, click'):
        prompt_from_truth('scribble', 1, mask)
