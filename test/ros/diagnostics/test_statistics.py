# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Rates, ages, shares and what happened, over the last seconds."""

from __future__ import annotations

import math

import pytest

from tam_ros.ros.diagnostics.statistics import WINDOW_S, Statistics


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def statistics(clock):
    return Statistics(clock)


def test_nothing_yet(statistics):
    summary = statistics.summary()
    assert (summary.received, summary.tracked, summary.dropped) == (0, 0, 0)
    assert (summary.received_hz, summary.tracked_hz, summary.dropped_share) == (0.0, 0.0, 0.0)
    assert math.isnan(summary.age_ms.p50)


def test_rates_ages_and_drops(statistics, clock):
    """A camera of 20 Hz, every other image replaced, the rest tracked 50 ms after its stamp."""
    for index in range(100):
        clock.now += 0.05
        statistics.received(0.01, dropped=index % 2 == 1)
        if index % 2:
            statistics.tracked(0.05 if index < 99 else 0.5)
    summary = statistics.summary()
    assert (summary.received, summary.tracked, summary.dropped) == (100, 50, 50)
    assert summary.received_hz == pytest.approx(20)
    assert summary.tracked_hz == pytest.approx(10)
    assert summary.dropped_share == 0.5
    assert summary.arrival_ms.max == pytest.approx(10)
    assert (summary.age_ms.p50, summary.age_ms.max) == pytest.approx((50, 500))


def test_images_that_never_arrive(statistics, clock):
    for _ in range(30):
        clock.now += 0.1
        statistics.received(0.01, dropped=False)
    statistics.lost(8)
    statistics.lost(2)
    summary = statistics.summary()
    assert (summary.lost, summary.lost_share) == (10, 0.25)
    clock.now += WINDOW_S + 0.1
    summary = statistics.summary()
    assert (summary.lost, summary.lost_share) == (10, 0.0)


def test_what_is_long_ago_no_longer_counts_but_in_the_totals(statistics, clock):
    statistics.received(3.0, dropped=True)
    statistics.tracked(3.0)
    statistics.stages({'track': 3.0})
    statistics.count('refused_images', 'too short')
    clock.now += WINDOW_S + 0.1
    for _ in range(3):
        clock.now += 0.1
        statistics.received(0.01, dropped=False)
        statistics.tracked(0.02)
        statistics.stages({'track': 0.004})
    summary = statistics.summary()
    assert summary.arrival_ms.max == pytest.approx(10)
    assert summary.age_ms.max == pytest.approx(20)
    assert summary.stages_ms['track'].p95 == pytest.approx(4)
    assert (summary.dropped_share, summary.dropped) == (0.0, 1)
    assert summary.tracked_hz == pytest.approx(10)
    assert (summary.counts, summary.recent) == ({'refused_images': 1}, {'refused_images': 0})
    assert summary.last == {'refused_images': 'too short'}


def test_silence_counts_from_the_last_image_or_the_activation(statistics, clock):
    clock.now += 5
    assert statistics.summary().silent_s == pytest.approx(5)
    statistics.received(0.0, dropped=False)
    clock.now += 3
    assert statistics.summary().silent_s == pytest.approx(3)
    statistics.expect_images()  # it was deactivated meanwhile
    assert statistics.summary().silent_s == 0


def test_a_stage_that_fails_is_not_timed(statistics):
    with pytest.raises(ZeroDivisionError), statistics.stage('track'):
        _ = 1 / 0
    assert statistics.summary().stages_ms == {}


def test_a_failure_lasts_until_the_next_tracked_image(statistics):
    statistics.failed('device lost')
    assert statistics.summary().failure == 'device lost'
    statistics.tracked(0.01)
    summary = statistics.summary()
    assert (summary.failure, summary.counts['failures']) == ('', 1)
