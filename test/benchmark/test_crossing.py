# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""People who cross: the scene, and that neighbours from tracks lose fewer of them."""

from __future__ import annotations

import numpy as np

from benchmark import crossing, suppression
from tam_ros.detection.neighbours import tracked_neighbours


def test_fewer_people_are_lost_with_neighbours_from_tracks():
    scenes = [crossing.scene(seed) for seed in range(100, 102)]
    lost = {
        method: sum(crossing.follow(one, method).lost for one in scenes)
        for method in ('greedy', 'noh')
    }
    assert 0 < lost['noh'] < 0.8 * lost['greedy']


def test_people_who_stay_apart_are_not_lost(monkeypatch):
    monkeypatch.setattr(crossing, 'PEOPLE', 1)
    for method in crossing.METHODS:
        outcome = crossing.follow(crossing.scene(3), method)
        assert (outcome.lost, outcome.changes, outcome.ids) == (0, 0, 1)


def test_neighbours_are_the_second_tracks():
    tracked = [[0, 0, 10, 20], [4, 0, 14, 20], [50, 0, 60, 20]]
    boxes, chances = tracked_neighbours(np.array([[1, 0, 11, 20], [50, 0, 60, 20]]), tracked)
    assert boxes[0].tolist() == tracked[1] and chances[0] == np.float64(140 / 260)
    assert chances[1] == 0
    for few in ([], tracked[:1]):
        boxes, chances = tracked_neighbours(np.array([[1, 0, 11, 20]]), few)
        assert boxes.shape == (1, 4) and chances.tolist() == [0]


def test_the_plain_loop_keeps_what_greedy_keeps(capsys):
    suppression.main(['--boxes', '50', '--repeats', '1'])
    text = capsys.readouterr().out
    assert '| `noh` |' in text and 'plain loop, greedy' in text
