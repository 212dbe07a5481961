# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from tam_ros.detection import Detections

FIELDS = {
    'boxes': [[0, 0, 4, 4], [1, 1, 3, 2], [2, 2, 2, 2]],
    'scores': [0.9, 0.5, 0.1],
    'class_ids': [1, 0, 1],
    'class_names': ['cup', 'person'],
    'masks': np.zeros((3, 6, 8), bool),
}


def test_the_types_are_those_of_the_description():
    found = Detections(**FIELDS)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.class_ids.dtype == np.int64 and found.class_names == ('cup', 'person')
    assert found.labels == ['person', 'cup', 'person'] and len(found) == 3
    assert list(found.counts()) == [('person', 2), ('cup', 1)]


@pytest.mark.parametrize('index', [np.array([2, 0]), np.array([True, False, True])])
def test_some_of_them(index):
    found = Detections(**FIELDS).select(index)
    assert len(found) == len(found.masks) == 2 and found.labels == ['person', 'person']


def test_none_of_them():
    none = Detections.none(('cup',), (6, 8))
    assert len(none) == 0 and none.boxes.shape == (0, 4) and none.masks.shape == (0, 6, 8)
    assert list(none.counts()) == none.labels == []
    assert Detections.none().masks is None
    empty = Detections([], [], [], ())
    assert empty.boxes.shape == (0, 4) and empty.class_ids.dtype == np.int64


@pytest.mark.parametrize(
    ('field', 'value', 'says'),
    [
        ('boxes', [[0, 0, 4, 4]] * 2, r'scores have the shape \[3\], not \[2\]'),
        ('boxes', [[0, 0, 4, 4]] * 2 + [[3, 0, 2, 2]], r'boxes\[2\] .*: the corners are swapped'),
        ('boxes', [[0, 0, np.nan, 4]] * 3, r'boxes\[0\] .*: not finite'),
        ('boxes', [1, 2, 3], r'boxes have the shape \[3\]'),
        ('scores', [1, 2, np.inf], r'scores\[2\] is inf: not finite'),
        ('class_ids', [0, 1, 2], 'class_ids reach from 0 to 2, but class_names has 2 names'),
        ('class_ids', [-1, 1, 1], 'class_ids reach from -1'),
        ('class_ids', [0.0, 1.0, 1.0], 'class_ids are float64'),
        ('masks', np.zeros((3, 6, 8)), 'masks are float64'),
        ('masks', np.zeros((2, 6, 8), bool), r'masks are bool \[2, 6, 8\], not bool \[3, H, W\]'),
    ],
)
def test_what_does_not_fit_is_refused(field, value, says):
    with pytest.raises(ValueError, match=says):
        Detections(**{**FIELDS, field: value})
