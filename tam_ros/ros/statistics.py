"""How the stream does: rates, ages, times of the stages, what was lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

WINDOW = 100
"""Values over which percentiles are taken."""


@dataclass(frozen=True)
class Summary:
    """The state of the stream at one moment.

    Attributes:
        frames: images tracked since the start.
        rate_hz: tracked images a second, over those of the last ten seconds.
        age_ms: p50 and p95 of the time from an image's stamp to its results, milliseconds.
        stages_ms: p50 of each stage, milliseconds.
        counts: how often something happened that should not, by name.
        last: the newest sentence about each of them.
        failure: what failed, if no image has been tracked since.
        silent_s: seconds since the last tracked image; None: there was none.
    """

    frames: int
    rate_hz: float
    age_ms: tuple[float, float]
    stages_ms: dict[str, float]
    counts: dict[str, int]
    last: dict[str, str]
    failure: str
    silent_s: float | None


class Statistics:
    """Collects from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames = 0
        self._times: deque[float] = deque(maxlen=WINDOW)
        self._ages: deque[float] = deque(maxlen=WINDOW)
        self._stages: dict[str, deque[float]] = {}
        self._counts: Counter[str] = Counter()
        self._last: dict[str, str] = {}
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
            for name, took in seconds.items():
                self._stages.setdefault(name, deque(maxlen=WINDOW)).append(took * 1e3)

    def tracked(self, age_s: float) -> None:
        """Count a tracked image whose results are `age_s` seconds behind its stamp."""
        with self._lock:
            self._frames += 1
            self._times.append(time.monotonic())
            self._ages.append(age_s * 1e3)
            self._failure = ''

    def count(self, what: str, text: str) -> None:
        """Count something that should not happen, and keep the sentence about it."""
        with self._lock:
            self._counts[what] += 1
            self._last[what] = text

    def failed(self, text: str) -> None:
        """Keep what failed until the next tracked image."""
        self.count('failures', text)
        with self._lock:
            self._failure = text

    def summary(self) -> Summary:
        """Return the state of the moment."""
        with self._lock:
            now = time.monotonic()
            recent = [moment for moment in self._times if now - moment < 10.0]
            span = recent[-1] - recent[0] if len(recent) > 1 else 0.0
            p50, p95 = np.percentile(self._ages, (50, 95)) if self._ages else (0.0, 0.0)
            return Summary(
                frames=self._frames,
                rate_hz=(len(recent) - 1) / span if span else 0.0,
                age_ms=(float(p50), float(p95)),
                stages_ms={name: float(np.median(took)) for name, took in self._stages.items()},
                counts=dict(self._counts),
                last=dict(self._last),
                failure=self._failure,
                silent_s=now - self._times[-1] if self._times else None,
            )
