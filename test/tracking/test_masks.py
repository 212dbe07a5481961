# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on masks against the official code's results, and by construction."""

from __future__ import annotations

import kit
import numpy as np
import pytest

from tam_ros.tracking import masks

needs_kit = pytest.mark.skipif(
    not kit.KIT.is_dir(), reason='the parity kit (../shared/parity/efficienttam) is absent'
)


@pytest.fixture(scope='module')
def select():
    return kit.reference('select')


def given(select, what, shape, scale):
    return kit.fill().tensor(what, shape, str(select['salt']), scale)


@needs_kit
def test_stability_fallback(select):
    candidates = given(select, 'sel_masks', (3, 4, 64, 64), 6)
    candidates[0, 0] *= 100
    candidates[1, 0] *= 0.05
    candidates[2, 0] = -5
    ious = 1 / (1 + np.exp(-given(select, 'sel_iou', (3, 4), 1)))
    chosen = masks.choose(
        candidates,
        ious,
        np.ones((3, 1), np.float32),
        np.zeros((3, 4, 8), np.float32),
        np.zeros(3, bool),
    )
    np.testing.assert_allclose(chosen.masks, select['sel_masks_out'], atol=1e-5)
    np.testing.assert_allclose(chosen.ious, select['sel_iou_out'][:, 0], atol=1e-6)
    np.testing.assert_allclose(masks.stability(candidates[:, 0]), select['sel_stability'][:, 0])


@needs_kit
def test_antialiased_resize(select):
    image = given(select, 'aa', (1, 1, 300, 400), 1)[0, 0]
    ours = masks.resize_antialiased(image, 128, 128)[::4, ::4]
    np.testing.assert_allclose(ours, select['aa_down'].reshape(ours.shape), atol=1e-5)


@needs_kit
def test_mask_prompt_of_the_image_size(select):
    mask = given(select, 'pts_mask', (1, 1, 100, 140), 1)[0, 0] > 0.3
    ours = masks.fit_mask(mask, 512)
    theirs = np.unpackbits(select['maskprompt_resized'])[: ours.size].reshape(ours.shape)
    # A value of exactly one half may round either way.
    assert (ours != theirs.astype(bool)).mean() < 1e-4


def test_absent_object_has_no_mask_whatever_the_candidates_say():
    candidates = np.full((2, 4, 4, 4), 7, np.float32)
    chosen = masks.choose(
        candidates,
        np.zeros((2, 4), np.float32),
        np.array([[-0.1], [0.1]], np.float32),
        np.zeros((2, 4, 3), np.float32),
        np.ones(2, bool),
    )
    assert (chosen.masks[0] == masks.NO_OBJECT).all()
    assert (chosen.masks[1] == 7).all()


def test_choice_by_iou_and_the_pointer_quirk():
    rows = np.arange(4, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 0.05, (1, 1, 16, 16)).astype(np.float32)
    candidates = np.concatenate((noise, np.full((1, 3, 16, 16), 5, np.float32)), 1)
    pointers = np.tile(rows[None, :, None], (1, 1, 2))
    ious = np.array([[0.9, 0.1, 0.3, 0.2]], np.float32)
    score = np.ones((1, 1), np.float32)
    multi = masks.choose(candidates, ious, score, pointers, np.array([True]))
    assert multi.ious[0] == np.float32(0.3) and multi.pointers[0, 0] == 2
    # Candidate 0 is not stable: the mask is the best other one, the pointer stays with 0.
    single = masks.choose(candidates, ious, score, pointers, np.array([False]))
    assert single.ious[0] == np.float32(0.3) and single.pointers[0, 0] == 0
    candidates[0, 0] = 5
    stable = masks.choose(candidates, ious, score, pointers, np.array([False]))
    assert stable.ious[0] == np.float32(0.9) and stable.pointers[0, 0] == 0


def test_label_image_gives_overlaps_to_the_larger_logit():
    first = np.array([[1, 1, -1, -1]], np.float32)
    second = np.array([[-1, 3, 3, -1]], np.float32)
    assert masks.label_image([7, 300], [first, second], 1, 4).tolist() == [[7, 300, 300, 0]]
    assert masks.label_image([300, 7], [second, first], 1, 4).tolist() == [[7, 300, 300, 0]]
    assert masks.label_image([], [], 1, 4).tolist() == [[0, 0, 0, 0]]


def test_box_and_centroid():
    mask = np.zeros((10, 20), bool)
    assert masks.bounding_box(mask) is None and masks.centroid(mask) is None
    mask[2:5, 7:11] = True
    assert masks.bounding_box(mask) == (7, 2, 11, 5)
    assert masks.centroid(mask) == (8.5, 3.0)
