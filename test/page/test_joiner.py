# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images, label images and objects are put together by their stamps."""

from __future__ import annotations

import pytest

from tam_ros.page import joiner
from tam_ros.page.joiner import LIVE_AFTER_GAPS, LIVE_AFTER_S, Joined, Joiner


class Time:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def made(clock):
    return Joiner(clock)


def test_whatever_arrives_last_completes_an_image(made):
    assert made.add_image(1, 'a', 10) is None
    assert made.add_labels(1, 'A') is None
    assert made.add_objects(1, 'α') == Joined(1, 'a', 'A', 'α')
    assert made.add_objects(2, 'β') is None
    assert made.add_labels(2, 'B') is None
    assert made.add_image(2, 'b', 10) == Joined(2, 'b', 'B', 'β')


def test_skipped_images_are_dropped(made):
    for stamp in range(1, 6):
        made.add_image(stamp, stamp, 10)
    made.add_labels(4, 'D')
    assert made.add_objects(4, 'δ').image == 4
    assert list(made._images) == [5] and made._bytes == 10


def test_memory_is_limited(made, monkeypatch):
    monkeypatch.setattr(joiner, 'MAX_KEPT', 5)
    monkeypatch.setattr(joiner, 'MAX_KEPT_BYTES', 100)
    for stamp in range(100):
        made.add_image(stamp, stamp, 10)
        made.add_labels(1000 + stamp, stamp)
        made.add_objects(2000 + stamp, stamp)
    assert len(made._images) == 5
    assert len(made._labels) <= joiner.MAX_RESULTS >= len(made._objects)
    made.add_image(100, 'large', 1000)
    assert list(made._images) == [100], 'one is kept whatever its size'


def test_without_results_images_are_shown_as_they_are(made, clock):
    assert made.add_image(1, 'a', 1) is None
    clock.now = LIVE_AFTER_S
    assert made.add_image(2, 'b', 1) == Joined(2, 'b')


def test_the_results_of_a_slow_tracker_are_waited_for(made, clock):
    clock.now = 3.0
    made.add_image(1, 'a', 1)
    made.add_labels(1, 'A')
    assert made.add_objects(1, 'α')
    clock.now += 3.0 * LIVE_AFTER_GAPS - 0.1
    assert made.add_image(2, 'b', 1) is None
    clock.now += 0.2
    assert made.add_image(3, 'c', 1) == Joined(3, 'c')


def test_a_clock_that_goes_back(made):
    for stamp in (100, 101, 5, 6):
        made.add_image(stamp, stamp, 1)
    made.add_labels(5, 'E')
    assert made.add_objects(5, 'ε').image == 5
    assert list(made._images) == [6]
