"""Region similarity J: the definition's corners, and the values of the code of record."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tam_ros.evaluation.jaccard import (
    VOID,
    label_similarity,
    mean_over_objects,
    region_similarity,
)

DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'
needs_data = pytest.mark.skipif(
    not (DATA / 'jf_reference.json').exists(),
    reason='the reference values and sequences (../shared/data) are not here',
)


def mask(*rows: str) -> np.ndarray:
    """Build a mask from rows of '#' and '.'."""
    return np.array([[letter == '#' for letter in row] for row in rows])


@pytest.mark.parametrize(
    ('truth', 'prediction', 'expected'),
    [
        (mask('##..'), mask('##..'), 1.0),
        (mask('##..'), mask('.##.'), 1 / 3),
        (mask('##..'), mask('..##'), 0.0),
        (mask('....'), mask('....'), 1.0),  # rightly found absent
        (mask('....'), mask('#...'), 0.0),  # invented
        (mask('#...'), mask('....'), 0.0),  # missed
    ],
)
def test_definition(truth, prediction, expected):
    assert region_similarity(truth, prediction) == pytest.approx(expected, abs=0)


def test_void_pixels_count_for_nobody():
    truth = np.array([[1, 1, VOID, 0]])
    assert label_similarity(truth, np.array([[1, 1, 1, 0]]), [1]) == {1: 1.0}
    assert label_similarity(truth, np.array([[1, 0, 1, 1]]), [1]) == {1: 1 / 3}


def test_labels_absent_or_foreign():
    truth = np.array([[1, 1, 2, 0]], np.uint8)
    prediction = np.array([[1, 1, 7, 0]], np.uint16)
    assert label_similarity(truth, prediction, [1, 2]) == {1: 1.0, 2: 0.0}


def test_mean_is_over_objects():
    frames = [{1: 1.0, 2: 0.0}, {1: 0.5, 2: 0.5}]
    assert mean_over_objects(frames) == pytest.approx((0.75 + 0.25) / 2)


@pytest.mark.parametrize('frames', [[], [{}]])
def test_nothing_to_average(frames):
    with pytest.raises(ValueError, match='no frame or no object'):
        mean_over_objects(frames)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match='cannot be compared'):
        region_similarity(np.zeros((4, 5), bool), np.zeros((5, 4), bool))


def shift(image: np.ndarray, right: int, down: int) -> np.ndarray:
    moved = np.zeros_like(image)
    height, width = image.shape
    moved[down:, right:] = image[: height - down, : width - right]
    return moved


def grow(image: np.ndarray, reach: int, outside: int = 0) -> np.ndarray:
    padded = np.pad(image.astype('u1'), reach, constant_values=outside)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), 'u1')
    return cv2.dilate(padded, kernel)[reach:-reach, reach:-reach].astype(bool)


def box_fill(image: np.ndarray) -> np.ndarray:
    left, top, width, height = cv2.boundingRect(image.astype('u1'))
    filled = np.zeros_like(image)
    filled[top : top + height, left : left + width] = True
    return filled


# The recipes of jf_reference.json: truth of all frames and the frame's index -> prediction.
RECIPES = {
    'identity': lambda all_, k: all_[k],
    'empty': lambda all_, k: np.zeros_like(all_[k]),
    'full': lambda all_, k: np.ones_like(all_[k]),
    'shift_5_3': lambda all_, k: shift(all_[k], 5, 3),
    'shift_20_0': lambda all_, k: shift(all_[k], 20, 0),
    'dilate_sq_3': lambda all_, k: grow(all_[k], 3),
    'erode_sq_10': lambda all_, k: ~grow(~all_[k], 10),
    'bbox_fill': lambda all_, k: box_fill(all_[k]),
    'lag_3': lambda all_, k: all_[max(0, k - 3)],
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
@pytest.mark.parametrize('case', RECIPES)
def test_agrees_with_the_code_of_record(reference, dog, case):
    values = [region_similarity(dog[k], RECIPES[case](dog, k)) for k in range(len(dog))]
    expected = reference['dog']['cases'][case]
    # The reference is printed with six decimals.
    assert np.mean(values) == pytest.approx(expected['all_frames']['J_mean'], abs=1e-6)
    for frame, (j, _) in expected['per_frame'].items():
        assert values[int(frame)] == pytest.approx(j, abs=1e-6)


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
def test_two_objects_agree_with_the_code_of_record(reference, case, change):
    truth = annotations('comp-car-shadow-horse-gap')  # object 2 is absent in ten frames
    frames = [label_similarity(labels, change(labels), (1, 2)) for labels in truth]
    expected = reference['comp-car-shadow-horse-gap']['cases'][case]['objects']
    for object_id in (1, 2):
        mean = np.mean([frame[object_id] for frame in frames])
        assert mean == pytest.approx(expected[str(object_id)]['all_frames']['J_mean'], abs=1e-6)
