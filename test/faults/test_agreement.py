# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pairs of channels that stopped agreeing, on channels whose agreement is known."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.faults import agreement as module
from tam_ros.faults.agreement import Agreement
from tam_ros.faults.graphical_lasso import ConvergenceError

CHANNELS = ('one', 'two', 'three', 'alone')
RECENT = 30


def windows(count: int, seed: int) -> np.ndarray:
    """The first three follow the same value, the third inverted; the last is on its own."""
    random = np.random.default_rng(seed)
    common = random.standard_normal(count)
    values = np.stack((common, common, -common, random.standard_normal(count)), axis=1)
    values += 0.3 * random.standard_normal(values.shape)
    return values * [1, 20, 0.5, 3] + [0, 100, 5, -2]


@pytest.fixture(scope='module')
def learned() -> Agreement:
    return Agreement(CHANNELS, windows(300, 0), RECENT)


def flagged(comparison, measure: str) -> set[str]:
    return {
        f'{pair.first} {pair.second}' for pair in comparison.pairs if getattr(pair, measure) > 1
    }


@pytest.mark.parametrize('seed', range(1, 6))
def test_while_all_is_well_nothing_is_reported(learned, seed):
    compared = learned.compare(windows(RECENT, seed))
    assert not compared.silent
    assert not flagged(compared, 'plain') and not flagged(compared, 'robust')
    by_name = {(pair.first, pair.second): pair.before for pair in compared.pairs}
    assert len(by_name) == 6
    assert by_name['one', 'two'] > 0.85 > -0.85 > by_name['two', 'three']
    assert abs(by_name['one', 'alone']) < 0.2


@pytest.mark.parametrize('measure', ['plain', 'robust'])
def test_a_channel_that_went_its_own_way_is_in_every_reported_pair(learned, measure):
    values = windows(RECENT, 1)
    values[:, 1] = windows(RECENT, 99)[:, 1]
    compared = learned.compare(values)
    assert flagged(compared, measure) == {'one two', 'two three'}
    assert {compared.pairs[0].first, compared.pairs[0].second} & {'two'}
    assert abs(compared.pairs[0].now) < 0.5 < abs(compared.pairs[0].before)


@pytest.mark.parametrize('measure', ['plain', 'robust'])
def test_a_channel_that_reads_too_much_is_found(learned, measure):
    values = windows(RECENT, 2)
    values[:, 0] += 3
    assert 'one two' in flagged(learned.compare(values), measure)


@pytest.mark.parametrize('measure', ['plain', 'robust'])
def test_two_channels_that_begin_to_agree_are_found(learned, measure):
    values = windows(RECENT, 3)
    values[:, 3] = 3 * (values[:, 0] - values[:, 0].mean()) - 2
    assert 'one alone' in flagged(learned.compare(values), measure)


def test_a_frozen_channel_agrees_with_nothing(learned):
    values = windows(RECENT, 4)
    values[:, 1] = values[0, 1]
    assert 'one two' in flagged(learned.compare(values), 'plain')
    values[:, 1] = learned.mean[1]  # its square is zero
    (pair,) = (
        pair for pair in learned.compare(values).pairs if (pair.first, pair.second) == CHANNELS[:2]
    )
    assert pair.now == pytest.approx(0, abs=1e-9)


def test_silent_channels_are_named_and_the_others_compared(learned):
    values = windows(RECENT, 1)
    values[: RECENT // 2 + 1, 1] = np.nan
    values[2, 3] = np.nan
    compared = learned.compare(values)
    assert compared.silent == ('two',)
    assert {pair.first for pair in compared.pairs} == {'one', 'three'}
    assert not flagged(compared, 'plain') and not flagged(compared, 'robust')
    for nothing in (np.full((5, 4), np.nan), np.empty((0, 4))):
        assert learned.compare(nothing).silent == CHANNELS
        assert not learned.compare(nothing).pairs
    assert not learned.compare(windows(1, 0)).pairs


def test_without_a_solution_the_plain_measure_remains(learned, monkeypatch):
    def fail(*args, **options):
        raise ConvergenceError

    monkeypatch.setattr(module, 'robust_graphical_lasso', fail)
    values = windows(RECENT, 1)
    values[:, 1] = values[0, 1]
    compared = learned.compare(values)
    assert np.isnan(compared.pairs[0].robust)
    assert compared.pairs[0].plain > 1
