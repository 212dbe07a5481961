# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The choice among candidate masks, against results of the official code and by construction."""

from __future__ import annotations

import kit
import numpy as np
import pytest

from tam_ros.tracking.mask_prediction import NO_OBJECT, choose_masks, stability


@pytest.mark.skipif(
    not kit.KIT.is_dir(), reason='the parity kit (../shared/parity/efficienttam) is absent'
)
def test_stability_fallback():
    reference = kit.reference('select')

    def given(what, shape, scale):
        return kit.fill().tensor(what, shape, str(reference['salt']), scale)

    candidates = given('sel_masks', (3, 4, 64, 64), 6)
    candidates[0, 0] *= 100
    candidates[1, 0] *= 0.05
    candidates[2, 0] = -5
    ious = 1 / (1 + np.exp(-given('sel_iou', (3, 4), 1)))
    chosen = choose_masks(
        candidates,
        ious,
        np.ones((3, 1), np.float32),
        np.zeros((3, 4, 8), np.float32),
        np.zeros(3, bool),
    )
    np.testing.assert_allclose(chosen.masks, reference['sel_masks_out'], atol=1e-5)
    np.testing.assert_allclose(chosen.ious, reference['sel_iou_out'][:, 0], atol=1e-6)
    np.testing.assert_allclose(stability(candidates[:, 0]), reference['sel_stability'][:, 0])


def test_an_absent_object_has_no_mask():
    candidates = np.full((2, 4, 4, 4), 7, np.float32)
    chosen = choose_masks(
        candidates,
        np.zeros((2, 4), np.float32),
        np.array([[-0.1], [0.1]], np.float32),
        np.zeros((2, 4, 3), np.float32),
        np.ones(2, bool),
    )
    absent, present = chosen.predictions()
    assert (absent.logits == NO_OBJECT).all() and not absent.present
    assert (present.logits == 7).all() and present.present


def test_an_object_with_an_empty_mask_is_not_present():
    chosen = choose_masks(
        np.full((1, 4, 4, 4), -7, np.float32),
        np.zeros((1, 4), np.float32),
        np.ones((1, 1), np.float32),
        np.zeros((1, 4, 3), np.float32),
        np.ones(1, bool),
    )
    (prediction,) = chosen.predictions()
    assert prediction.score > 0 and not prediction.present


@pytest.mark.parametrize(
    ('undecided', 'chosen'), [(1, 0), (3, 1)], ids=['stable at 0.99', 'unstable at 0.97']
)
def test_a_mask_is_stable_if_few_of_its_pixels_are_undecided(undecided, chosen):
    """Official threshold: 0.98 (`dynamic_multimask_stability_thresh` of the SAM 2 configs)."""
    candidates = np.full((1, 4, 10, 10), 5, np.float32)
    candidates[0, 0].flat[:undecided] = 0
    ious = np.array([[0.4, 0.3, 0.2, 0.1]], np.float32)
    masks = choose_masks(
        candidates,
        ious,
        np.ones((1, 1), np.float32),
        np.zeros((1, 4, 3), np.float32),
        np.array([False]),
    )
    assert masks.ious[0] == ious[0, chosen]


def test_the_mask_is_chosen_by_iou_and_the_pointer_of_an_unstable_mask_stays():
    rows = np.arange(4, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 0.05, (1, 1, 16, 16)).astype(np.float32)
    candidates = np.concatenate((noise, np.full((1, 3, 16, 16), 5, np.float32)), 1)
    pointers = np.tile(rows[None, :, None], (1, 1, 2))
    ious = np.array([[0.9, 0.1, 0.3, 0.2]], np.float32)
    score = np.ones((1, 1), np.float32)
    multi = choose_masks(candidates, ious, score, pointers, np.array([True]))
    assert multi.ious[0] == np.float32(0.3) and multi.pointers[0, 0] == 2
    # Candidate 0 is not stable: the mask is the best of the others, the pointer stays that of 0.
    single = choose_masks(candidates, ious, score, pointers, np.array([False]))
    assert single.ious[0] == np.float32(0.3) and single.pointers[0, 0] == 0
    candidates[0, 0] = 5
    stable = choose_masks(candidates, ious, score, pointers, np.array([False]))
    assert stable.ious[0] == np.float32(0.9) and stable.pointers[0, 0] == 0
