# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Statistics of the image stream: rates, ages, times of the stages, losses."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tam_ros.printable import MAX_TEXT, printable

WINDOW_S = 10.0
"""Seconds over which rates, shares and percentiles are computed."""

DEPTH_OFFSET = 'depth_offset'
"""The stage under which the offsets between images and their depth images are kept."""

DROPPED_DETECTIONS = 'dropped_detections'
"""What detections that are not used by mistake are counted under; with `_` and a reason: all."""

POSITIONS, NO_POSITIONS = 'positions', 'objects_without_position'
"""What is counted for each object on each image with depth."""

_MAX_VALUES = 2000  # kept of each kind: ten seconds of a fast camera


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of some values; NaN if there were none."""

    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Compute the percentiles of some values."""
        if not len(values):
            return cls(np.nan, np.nan, np.nan)
        return cls(*(float(value) for value in np.percentile(values, (50, 95, 100))))


@dataclass(frozen=True)
class Summary:
    """The state of the stream at one time. "Recent" is within the last `WINDOW_S` seconds.

    Attributes:
        received: images that reached the node since the start.
        tracked: images tracked since the start.
        dropped: images since the start that a newer one replaced before they were tracked.
        lost: images since the start that the middleware reported as lost.
        received_hz: recent images per second.
        tracked_hz: recent tracked images per second.
        dropped_share: share of the recent images that were dropped, 0 to 1.
        lost_share: share of the recently published images that were lost, 0 to 1.
        arrival_ms: from an image's stamp to its arrival, milliseconds, recent.
        age_ms: from an image's stamp to its published results, milliseconds, recent.
        stages_ms: each stage, milliseconds, recent.
        counts: how often each problem occurred, by name.
        recent: how often each problem occurred recently.
        last: the newest message about each problem.
        failure: the newest failure, if no image has been tracked since.
        silent_s: seconds since the last image arrived or, if that is later, since `expect_images`.
    """

    received: int
    tracked: int
    dropped: int
    lost: int
    received_hz: float
    tracked_hz: float
    dropped_share: float
    lost_share: float
    arrival_ms: Percentiles
    age_ms: Percentiles
    stages_ms: dict[str, Percentiles]
    counts: dict[str, int]
    recent: dict[str, int]
    last: dict[str, str]
    failure: str
    silent_s: float


class Statistics:
    """Collects the statistics; all methods may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start empty.

        Args:
            clock: returns seconds of a monotonic clock.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._begin = clock()
        self._totals: Counter[str] = Counter()
        self._arrivals = _Recent()
        self._drops = _Recent()
        self._losses = _Recent()
        self._ages = _Recent()
        self._stages: defaultdict[str, _Recent] = defaultdict(_Recent)
        self._events: defaultdict[str, _Recent] = defaultdict(_Recent)
        self._last: dict[str, str] = {}
        self._failure = ''

    def expect_images(self) -> None:
        """Start counting the time without an image."""
        with self._lock:
            self._begin = self._clock()

    def received(self, age_s: float, dropped: bool) -> None:
        """Count an image that arrived `age_s` seconds after its stamp.

        Args:
            age_s: may be negative: the clocks of two machines differ.
            dropped: whether it replaced the previous image, which then is not tracked.
        """
        with self._lock:
            now = self._clock()
            self._totals['received'] += 1
            self._arrivals.add(now, age_s * 1e3)
            if dropped:
                self._totals['dropped'] += 1
                self._drops.add(now)

    def lost(self, count: int) -> None:
        """Count images that the middleware lost."""
        with self._lock:
            self._totals['lost'] += count
            self._losses.add(self._clock(), count)

    def tracked(self, age_s: float) -> None:
        """Count an image whose results were published `age_s` seconds after its stamp."""
        with self._lock:
            self._totals['tracked'] += 1
            self._ages.add(self._clock(), age_s * 1e3)
            self._failure = ''

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of the `with` block, unless it raises."""
        begin = time.perf_counter()
        yield
        self.stages({name: time.perf_counter() - begin})

    def stages(self, seconds: Mapping[str, float]) -> None:
        """Add times of stages that were measured elsewhere."""
        with self._lock:
            now = self._clock()
            for name, duration in seconds.items():
                self._stages[name].add(now, duration * 1e3)

    def count(self, what: str, text: str, count: int = 1) -> None:
        """Count a problem, which occurred `count` times, and keep the message about it."""
        with self._lock:
            self._totals[what] += count
            self._events[what].add(self._clock(), count)
            self._last[what] = printable(text, MAX_TEXT)

    def failed(self, text: str) -> None:
        """Count a failure, and report it until the next tracked image."""
        self.count('failures', text)
        with self._lock:
            self._failure = printable(text, MAX_TEXT)

    def summary(self) -> Summary:
        """Return the current state."""
        with self._lock:
            now = self._clock()
            arrivals, ages, drops = (
                kept.since(now) for kept in (self._arrivals, self._ages, self._drops)
            )
            lost = sum(count for _, count in self._losses.since(now))
            return Summary(
                received=self._totals['received'],
                tracked=self._totals['tracked'],
                dropped=self._totals['dropped'],
                lost=self._totals['lost'],
                received_hz=_rate(arrivals),
                tracked_hz=_rate(ages),
                dropped_share=len(drops) / len(arrivals) if arrivals else 0.0,
                lost_share=lost / (lost + len(arrivals)) if lost else 0.0,
                arrival_ms=Percentiles.of([age for _, age in arrivals]),
                age_ms=Percentiles.of([age for _, age in ages]),
                stages_ms={
                    name: Percentiles.of([duration for _, duration in kept.since(now)])
                    for name, kept in self._stages.items()
                },
                counts={name: self._totals[name] for name in self._events},
                recent={
                    name: int(sum(count for _, count in kept.since(now)))
                    for name, kept in self._events.items()
                },
                last=dict(self._last),
                failure=self._failure,
                silent_s=now - max(self._begin, self._arrivals.newest),
            )


class _Recent:
    """Values of the last seconds, each with its time."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, float]] = deque(maxlen=_MAX_VALUES)
        self.newest = -np.inf

    def add(self, now: float, value: float = 0.0) -> None:
        self._entries.append((now, value))
        self.newest = now

    def since(self, now: float) -> list[tuple[float, float]]:
        while self._entries and now - self._entries[0][0] > WINDOW_S:
            self._entries.popleft()
        return list(self._entries)


def _rate(entries: Sequence[tuple[float, float]]) -> float:
    span = entries[-1][0] - entries[0][0] if len(entries) > 1 else 0.0
    return (len(entries) - 1) / span if span else 0.0
