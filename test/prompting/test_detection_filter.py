# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which boxes of a detector are used, and what is said about the others."""

from __future__ import annotations

import math

import pytest

from tam_ros.prompting.detection_filter import (
    MAX_DETECTIONS,
    Detection,
    FilterRules,
    Reason,
    explain,
    select,
    wrong_coordinates,
)

SIZE = (60, 80)  # rows, columns
MUG = (10.0, 10.0, 30.0, 30.0)
CUPS = FilterRules(classes=frozenset({'cup'}), min_score=0.5)


def scored(score):
    return Detection(MUG, 'cup', score)


# Each row: a detection, and why it is not used; None: it is.
@pytest.mark.parametrize(
    ('found', 'reason'),
    [
        pytest.param(scored(0.5), None, id='score reached'),
        pytest.param(scored(0.49), Reason.SCORE, id='score too low'),
        pytest.param(scored(0.0), Reason.SCORE, id='no score'),
        pytest.param(scored(90.0), None, id='score in percent'),
        pytest.param(scored(30.0), Reason.SCORE, id='score in percent, too low'),
        pytest.param(Detection(MUG, 'mug'), Reason.CLASS, id='class not wanted'),
        pytest.param(Detection(MUG), Reason.CLASS, id='no class'),
        pytest.param(Detection((-50, -50, -1, -1), 'cup'), Reason.OUTSIDE, id='outside'),
        pytest.param(
            Detection((79.5, 10, 99, 30), 'cup'), Reason.OUTSIDE, id='less than a pixel inside'
        ),
        pytest.param(Detection((0.3, 0.3, 0.6, 0.6), 'cup'), Reason.OUTSIDE, id='normalized'),
        pytest.param(Detection((math.nan, 0, 5, 5), 'cup'), Reason.BOX, id='not a number'),
        pytest.param(Detection((0, 0, math.inf, 5), 'cup'), Reason.BOX, id='infinite'),
        pytest.param(Detection((5, 5, 1, 9), 'cup'), Reason.BOX, id='swapped'),
        pytest.param(Detection((5, 5, 5, 9), 'cup'), Reason.BOX, id='empty'),
        pytest.param(scored(math.nan), Reason.BOX, id='score not a number'),
    ],
)
def test_selection(found, reason):
    used, dropped = select([found], SIZE, CUPS)
    assert dropped == ({reason: [found]} if reason else {})
    assert [one.box for one in used] == ([] if reason else [found.box])
    assert all(one.score <= 1 for one in used)


def test_without_classes_and_score_all_are_used():
    used, dropped = select([Detection(MUG), scored(0.0)], SIZE, FilterRules())
    assert (len(used), dropped) == (2, {})


# Each row: coordinates, a box in them, and that box in pixels of the image.
@pytest.mark.parametrize(
    ('coordinates', 'box', 'pixels'),
    [
        pytest.param('pixels', (-5, 40, 20, 99), (0, 40, 20, 60), id='clipped to the image'),
        pytest.param('normalized', (0.25, 0.5, 0.5, 1.1), (20, 30, 40, 60), id='normalized'),
        pytest.param('640x640', (64, 64, 320, 320), (8, 6, 40, 30), id='of the network'),
        pytest.param('40x30', (5, 5, 10, 15), (10, 10, 20, 30), id='of a smaller image'),
    ],
)
def test_coordinates(coordinates, box, pixels):
    used, _ = select([Detection(box)], SIZE, FilterRules(coordinates=coordinates))
    assert [one.box for one in used] == [pytest.approx(pixels)]


@pytest.mark.parametrize('text', ['', 'pixel', '640', '640 x 480', '0x480', '640x-1', '1e3x5'])
def test_other_coordinates_are_refused(text):
    assert 'neither pixels nor normalized nor a size such as 640x480' in wrong_coordinates(text)


@pytest.mark.parametrize('text', ['pixels', 'normalized', '640x480', '1x1'])
def test_these_coordinates_are_accepted(text):
    assert wrong_coordinates(text) is None


# Each row: detections that are dropped for one reason, words about them, and whether somebody has
# probably made a mistake.
@pytest.mark.parametrize(
    ('found', 'words', 'mistake'),
    [
        pytest.param(
            [scored(0.0), scored(0.0)], 'no score (no hypothesis, or score 0)', True, id='no score'
        ),
        pytest.param(
            [scored(0.2), scored(0.3)],
            'at most 0.30, below detection_min_score 0.5',
            False,
            id='low',
        ),
        pytest.param(
            [Detection(MUG, '41'), Detection(MUG)],
            'detection_classes (cup) does not have no class, 41',
            False,
            id='classes',
        ),
        pytest.param(
            [Detection((0.3, 0.3, 0.6, 0.6), 'cup')],
            'set detection_coordinates to normalized',
            True,
            id='normalized',
        ),
        pytest.param(
            [Detection((900, 500, 1200, 700), 'cup')],
            'reach to x 1200, y 700 and are outside the image of 80x60',
            True,
            id='of larger images',
        ),
        pytest.param([Detection((5, 5, 5, 9))], 'empty or not finite', True, id='box'),
    ],
)
def test_explanations(found, words, mistake):
    ((reason, dropped),) = select(found, SIZE, CUPS).dropped.items()
    explanation = explain(reason, dropped, SIZE, CUPS)
    assert words in explanation.text
    assert '\n' not in explanation.text
    assert explanation.mistake == mistake


def test_those_with_the_highest_scores_are_used():
    found = [Detection(MUG, score=0.5 + index / 10_000) for index in range(MAX_DETECTIONS + 50)]
    used, dropped = select(found, SIZE, FilterRules())
    assert used == found[: 50 - 1 : -1]
    (text, mistake) = explain(Reason.RANK, dropped[Reason.RANK], SIZE, FilterRules())
    assert '100 with the highest scores' in text
    assert not mistake
