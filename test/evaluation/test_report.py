# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Scores as a table, as JSON and as a plot."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tam_ros.evaluation import report
from tam_ros.evaluation.runner import ObjectScores, SequenceScores


@pytest.fixture
def results() -> list[SequenceScores]:
    """Two objects in one sequence and one in another, so that means over both differ."""
    return [
        SequenceScores(
            'first',
            [
                ObjectScores(1, 0, 1.0, [1, 2], [0.6, 0.4], [0.8, 0.8]),
                ObjectScores(4, 0, 0.5, [1, 2], [0.0, 0.0], [0.2, 0.0]),
            ],
            [0.01, 0.02, 0.03, 0.04],
        ),
        SequenceScores(
            'second', [ObjectScores(1, 0, 0.9, [1, 2, 3], [1.0] * 3, [1.0] * 3)], [0.05] * 5
        ),
    ]


def test_the_mean_is_over_objects(results):
    found = report.mean(results)
    assert found['J'] == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    assert found['F'] == pytest.approx((0.8 + 0.1 + 1.0) / 3)
    assert found['J&F'] == pytest.approx((found['J'] + found['F']) / 2)


def test_table(results):
    lines = report.as_table(results).splitlines()
    assert [line.split()[:4] for line in lines] == [
        ['sequence', 'object', 'frames', 'J&F'],
        ['first', '1', '2', '0.650'],
        ['first', '4', '2', '0.050'],
        ['second', '1', '3', '1.000'],
        ['mean', '3', 'objects', '0.567'],
    ]
    assert len({len(line) for line in lines}) == 1


def test_json(results):
    written = json.loads(json.dumps(report.as_json(results)))
    assert written['mean']['J&F'] == pytest.approx(report.mean(results)['J&F'])
    first = written['sequences']['first']
    assert first['J'] == pytest.approx(0.25) and first['step_ms_median'] == pytest.approx(25)
    assert first['objects']['4']['F'] == pytest.approx(0.1)
    assert first['objects']['1']['J_of_frames'] == [0.6, 0.4]
    assert first['objects']['1']['frames'] == [1, 2]


def test_plot_shows_every_object(results, tmp_path):
    pytest.importorskip('matplotlib')
    report.plot(results, tmp_path / 'both.png', 'title')
    report.plot([results[0]], tmp_path / 'one.png')
    both, one = (
        np.asarray(Image.open(tmp_path / f'{name}.png').convert('RGB')).astype(int)
        for name in ('both', 'one')
    )
    assert both.shape[1] > one.shape[1]
    # The lines of the first panel have the first two colours of matplotlib, blue and orange.
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (abs(one - colour).sum(2) < 30).sum() > 50


def test_no_object():
    with pytest.raises(ValueError, match='no object'):
        report.mean([])
