# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recall, decay and the mean of the last quarter."""

import pytest

from tam_ros.evaluation.statistics import decay, last_quarter, recall


@pytest.mark.parametrize(
    ('count', 'expected'),
    [
        (1, 0.0),
        (2, 1.0),  # edges 0, 0, 1, 1, 1: halves are rounded up
        (4, 2.5),  # edges 0, 1, 2, 2, 3: the middle of 1..4 is rounded up to 3
        (5, 3.5),  # edges 0, 1, 2, 3, 4: frame 3 belongs to both quarters
        (400, (299 + 399) / 2),  # eight bits would overflow here
    ],
)
def test_last_quarter(count, expected):
    assert last_quarter(range(count)) == pytest.approx(expected)


def test_decay_is_the_loss_between_first_and_last_quarter():
    assert decay([1.0] * 30 + [0.25] * 30) == pytest.approx(0.75)
    assert decay([0.25] * 30 + [1.0] * 30) == pytest.approx(-0.75)


def test_recall_is_strictly_above_one_half():
    assert recall([0.5, 0.51, 0.2, 0.9]) == 0.5


def test_no_frame():
    with pytest.raises(ValueError, match='no frame'):
        last_quarter([])
