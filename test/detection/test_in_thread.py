# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A detector beside a tracker: it looks at the newest image, when it is due, and rests."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tam_ros.detection import Detections, Detector
from tam_ros.detection.in_thread import DetectorThread, Look, Pace

WAIT = 20.0


class Clock:
    """Time that passes when the test or the detector says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Slow(Detector):
    """Takes `seconds` of the clock for each image, and fails on black ones."""

    name, class_names, info = 'slow', ('thing',), {'device': 'cpu'}

    def __init__(self, clock, seconds=0.2):
        self.clock, self.seconds, self.closed = clock, seconds, threading.Event()

    def detect(self, image, tracked=None):
        self.clock.now += self.seconds
        if not image.any():
            raise RuntimeError('a black image')
        return Detections([[0, 0, 1, 1]] * int(image[0, 0, 0]), *ones(int(image[0, 0, 0])))

    def close(self):
        self.closed.set()


def ones(count):
    return [0.9] * count, [0] * count, ('thing',)


def look(value, stamp=0):
    return Look(np.full((2, 2, 3), value, np.uint8), stamp, [])


class Bench:
    """A detector in a thread, and what it reports."""

    def __init__(self, rate=1.0, share=0.25, **options):
        self.clock = Clock()
        self.detector = Slow(self.clock, **options)
        self.pace = Pace(rate, share)
        self.reports, self.failures = [], []
        self.changed = threading.Condition()
        self.thread = DetectorThread(
            self.open, self.found, lambda: self.pace, self.failed, self.clock
        )

    def open(self):
        return self.detector

    def found(self, looked, found):
        with self.changed:
            self.reports.append((looked.stamp_ns, len(found)))
            self.changed.notify_all()

    def failed(self, problem):
        with self.changed:
            self.failures.append(problem)
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, WAIT)


@pytest.fixture
def bench():
    made = []

    def make(kind=Bench, **options):
        made.append(kind(**options))
        return made[-1]

    yield make
    for one in made:
        one.thread.close()


def test_it_looks_at_the_first_image_and_then_rests(bench):
    one = bench(share=0.25)
    one.thread.offer(look(3, stamp=1))
    one.wait(lambda: one.reports == [(1, 3)])
    # 0.2 s of work are followed by 0.6 s of rest, and the rate asks for 1 s.
    for stamp, now in ((2, 100.3), (3, 100.9)):
        one.clock.now = now
        one.thread.offer(look(1, stamp))
    one.clock.now = 101.01
    one.thread.offer(look(2, stamp=4))
    one.wait(lambda: len(one.reports) == 2)
    assert one.reports == [(1, 3), (4, 2)]
    cost = one.thread.cost
    assert cost.looks == 2 and cost.last_s == pytest.approx(0.2) and cost.detections == 2
    assert 0.3 < cost.share < 0.4 and dict(cost.info) == {'device': 'cpu'}


def test_a_slow_detector_looks_less_often(bench):
    """The share of the time decides, not the rate."""
    one = bench(rate=10.0, share=0.1, seconds=2.0)
    one.thread.offer(look(1, stamp=1))
    one.wait(lambda: len(one.reports) == 1)
    one.clock.now = 119.9
    one.thread.offer(look(1, stamp=2))
    one.clock.now = 120.1  # 18 s after the end of the look
    one.thread.offer(look(1, stamp=3))
    one.wait(lambda: len(one.reports) == 2)
    assert one.reports[1] == (3, 1)


def test_it_can_be_asked_at_any_time(bench):
    one = bench(rate=0.0)
    one.thread.offer(look(1, stamp=1))
    looked, found = one.thread.ask().result(WAIT)
    assert (looked.stamp_ns, len(found), one.reports) == (1, 1, [])
    waiting = one.thread.ask()  # for an image
    assert not waiting.done()
    one.thread.offer(look(2, stamp=2))
    assert waiting.result(WAIT)[0].stamp_ns == 2


def test_a_failure_is_one_of_one_image(bench):
    one = bench(rate=10.0, share=1.0)
    one.thread.offer(look(0))
    one.wait(lambda: one.failures)
    assert one.failures == ['the detector failed: RuntimeError: a black image']
    assert one.thread.cost.problem == one.failures[0]
    one.clock.now += 1
    one.thread.offer(look(1))
    one.wait(lambda: one.reports)
    assert one.thread.cost.problem == ''
    one.thread.offer(look(0))
    with pytest.raises(RuntimeError, match='a black image'):
        one.thread.ask().result(WAIT)


def test_closing_ends_what_waits(bench):
    one = bench(rate=0.0)
    waiting = one.thread.ask()
    one.thread.close()
    assert one.detector.closed.wait(WAIT)
    with pytest.raises(RuntimeError, match='the detector is closed'):
        waiting.result(WAIT)
    with pytest.raises(RuntimeError, match='it is closed'):
        one.thread.ask().result(WAIT)


def test_a_detector_that_cannot_be_opened(bench):
    class Broken(Bench):
        def open(self):
            raise ValueError('no weights')

    one = bench(Broken)
    one.wait(lambda: one.failures)
    assert one.failures == ['the detector cannot be opened: no weights']
    assert one.thread.cost.problem == one.failures[0]
    one.thread.offer(look(1))
    with pytest.raises(RuntimeError, match='no weights'):
        one.thread.ask().result(WAIT)
