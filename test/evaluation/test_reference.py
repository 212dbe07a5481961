# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""J and F equal those of the reference code on perturbed masks of real sequences."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tam_ros.evaluation.boundary import contour_accuracy
from tam_ros.evaluation.jaccard import label_similarity, region_similarity

DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'
needs_data = pytest.mark.skipif(
    not (DATA / 'jf_reference.json').exists(),
    reason='the reference values and sequences (../shared/data) are absent',
)


def shift(image: np.ndarray, right: int, down: int) -> np.ndarray:
    moved = np.zeros_like(image)
    height, width = image.shape
    moved[down:, right:] = image[: height - down, : width - right]
    return moved


def grow(image: np.ndarray, reach: int) -> np.ndarray:
    padded = np.pad(image.astype('u1'), reach)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), 'u1')
    return cv2.dilate(padded, kernel)[reach:-reach, reach:-reach].astype(bool)


def box_fill(image: np.ndarray) -> np.ndarray:
    left, top, width, height = cv2.boundingRect(image.astype('u1'))
    filled = np.zeros_like(image)
    filled[top : top + height, left : left + width] = True
    return filled


def disc(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.indices(shape)
    return (x - 60) ** 2 + (y - 60) ** 2 <= 40**2


# The perturbations of jf_reference.json: masks of all frames, index of the frame -> prediction.
PERTURBATIONS = {
    'identity': lambda all_, k: all_[k],
    'empty': lambda all_, k: np.zeros_like(all_[k]),
    'full': lambda all_, k: np.ones_like(all_[k]),
    'shift_5_3': lambda all_, k: shift(all_[k], 5, 3),
    'shift_20_0': lambda all_, k: shift(all_[k], 20, 0),
    'dilate_sq_3': lambda all_, k: grow(all_[k], 3),
    'dilate_sq_10': lambda all_, k: grow(all_[k], 10),
    'erode_sq_3': lambda all_, k: ~grow(~all_[k], 3),
    'erode_sq_10': lambda all_, k: ~grow(~all_[k], 10),
    'bbox_fill': lambda all_, k: box_fill(all_[k]),
    'checker_8': lambda all_, k: all_[k] & (np.add(*np.indices(all_[k].shape) // 8) % 2 == 0),
    'stride4_nearest': lambda all_, k: all_[k][::4, ::4].repeat(4, 0).repeat(4, 1)[:, :854],
    'lag_3': lambda all_, k: all_[max(0, k - 3)],
    'far_disc': lambda all_, k: all_[k] | disc(all_[k].shape),
    'drop_after_half': lambda all_, k: all_[k] & (k < len(all_) // 2),
}


def annotations(sequence: str) -> np.ndarray:
    files = sorted((DATA / 'Annotations' / sequence).glob('*.png'))
    return np.stack([np.array(Image.open(file)) for file in files])


@pytest.fixture(scope='module')
def reference() -> dict:
    return json.loads((DATA / 'jf_reference.json').read_text())['sequences']


@pytest.fixture(scope='module')
def dog() -> np.ndarray:
    return annotations('dog') > 0


@needs_data
@pytest.mark.parametrize('case', PERTURBATIONS)
def test_one_object(reference, dog, case):
    pairs = [(dog[k], PERTURBATIONS[case](dog, k)) for k in range(len(dog))]
    j = [region_similarity(*pair) for pair in pairs]
    f = [contour_accuracy(*pair) for pair in pairs]
    expected = reference['dog']['cases'][case]
    # The reference is rounded to six decimals.
    assert np.mean(j) == pytest.approx(expected['all_frames']['J_mean'], abs=1e-6)
    assert np.mean(f) == pytest.approx(expected['all_frames']['F_mean'], abs=1e-6)
    for frame, values in expected['per_frame'].items():
        assert (j[int(frame)], f[int(frame)]) == pytest.approx(tuple(values), abs=1e-6)


@needs_data
@pytest.mark.parametrize(
    ('case', 'change'),
    [
        ('labels_swapped', lambda labels: np.array([0, 2, 1])[labels]),
        ('object2_missing', lambda labels: labels * (labels != 2)),
        ('object2_merged_into_1', lambda labels: np.minimum(labels, 1)),
        ('shift_5_3_labels', lambda labels: shift(labels, 5, 3)),
    ],
)
def test_two_objects(reference, case, change):
    truth = annotations('comp-car-shadow-horse-gap')  # object 2 is absent in ten frames
    pairs = [(labels, change(labels)) for labels in truth]
    j = [label_similarity(*pair, (1, 2)) for pair in pairs]
    expected = reference['comp-car-shadow-horse-gap']['cases'][case]
    for key in (1, 2):
        reference_scores = expected['objects'][str(key)]['all_frames']
        f = [contour_accuracy(labels == key, changed == key) for labels, changed in pairs]
        assert np.mean([frame[key] for frame in j]) == pytest.approx(
            reference_scores['J_mean'], abs=1e-6
        )
        assert np.mean(f) == pytest.approx(reference_scores['F_mean'], abs=1e-6)
