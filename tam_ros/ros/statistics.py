# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How the stream does: rates, ages, times of the stages, what was lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW_S = 10.0
"""Seconds over which rates, shares and percentiles are taken."""

_MOST = 2000  # values kept of each kind: ten seconds of a fast camera


@dataclass(frozen=True)
class Spread:
    """Percentiles of some values; NaN where there were none."""

    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Take the percentiles of some values."""
        if not len(values):
            return cls(np.nan, np.nan, np.nan)
        return cls(*(float(value) for value in np.percentile(values, (50, 95, 100))))


@dataclass(frozen=True)
class Summary:
    """The state of the stream at one moment. "Recent" is within the last `WINDOW_S` seconds.

    Attributes:
        received: images that reached the node since the start.
        tracked: images tracked since the start.
        dropped: images since the start that a newer one replaced before they were tracked.
        lost: images since the start that the transport says never arrived.
        received_hz: recent images a second.
        tracked_hz: recent tracked images a second.
        dropped_share: dropped recent images of all recent ones, 0 to 1.
        lost_share: recent images that never arrived, of those and the recent ones, 0 to 1.
        arrival_ms: from an image's stamp to its arrival, milliseconds, recent.
        age_ms: from an image's stamp to its published results, milliseconds, recent.
        stages_ms: each stage, milliseconds, recent.
        counts: how often something happened that should not, by name.
        recent: how often recently.
        last: the newest sentence about each of them.
        failure: what failed, if no image has been tracked since.
        silent_s: seconds since the last image arrived, or, if that is later, since the node
            listens.
    """

    received: int
    tracked: int
    dropped: int
    lost: int
    received_hz: float
    tracked_hz: float
    dropped_share: float
    lost_share: float
    arrival_ms: Spread
    age_ms: Spread
    stages_ms: dict[str, Spread]
    counts: dict[str, int]
    recent: dict[str, int]
    last: dict[str, str]
    failure: str
    silent_s: float


class Statistics:
    """Collects from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start empty.

        Args:
            clock: seconds that only go forward.
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

    def listening(self) -> None:
        """Start to expect images."""
        with self._lock:
            self._begin = self._clock()

    def received(self, age_s: float, dropped: bool) -> None:
        """Count an image that arrived `age_s` seconds after its stamp.

        Args:
            age_s: may be negative: the clocks of two machines differ.
            dropped: whether the one before it was still waiting, and now never is tracked.
        """
        with self._lock:
            now = self._clock()
            self._totals['received'] += 1
            self._arrivals.add(now, age_s * 1e3)
            if dropped:
                self._totals['dropped'] += 1
                self._drops.add(now)

    def lost(self, count: int) -> None:
        """Count images that the transport lost."""
        with self._lock:
            self._totals['lost'] += count
            self._losses.add(self._clock(), count)

    def tracked(self, age_s: float) -> None:
        """Count a tracked image whose results are `age_s` seconds behind its stamp."""
        with self._lock:
            self._totals['tracked'] += 1
            self._ages.add(self._clock(), age_s * 1e3)
            self._failure = ''

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside the `with` block, if it ends without an error."""
        begin = time.perf_counter()
        yield
        self.stages({name: time.perf_counter() - begin})

    def stages(self, seconds: Mapping[str, float]) -> None:
        """Take over times of stages that were measured elsewhere."""
        with self._lock:
            now = self._clock()
            for name, took in seconds.items():
                self._stages[name].add(now, took * 1e3)

    def count(self, what: str, text: str) -> None:
        """Count something that should not happen, and keep the sentence about it."""
        with self._lock:
            self._totals[what] += 1
            self._events[what].add(self._clock())
            self._last[what] = text

    def failed(self, text: str) -> None:
        """Keep what failed until the next tracked image."""
        self.count('failures', text)
        with self._lock:
            self._failure = text

    def summary(self) -> Summary:
        """Return the state of the moment."""
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
                arrival_ms=Spread.of([age for _, age in arrivals]),
                age_ms=Spread.of([age for _, age in ages]),
                stages_ms={
                    name: Spread.of([took for _, took in kept.since(now)])
                    for name, kept in self._stages.items()
                },
                counts={name: self._totals[name] for name in self._events},
                recent={name: len(kept.since(now)) for name, kept in self._events.items()},
                last=dict(self._last),
                failure=self._failure,
                silent_s=now - max(self._begin, self._arrivals.newest),
            )


class _Recent:
    """Values of the last seconds, each with its moment."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, float]] = deque(maxlen=_MOST)
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
