# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A detector in a thread of its own, beside a tracker that must not wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.detection.detections import Detections
from tam_ros.detection.detector import Detector

STOP_S = 5.0  # how long the end of a look is waited for; then it ends with the process


class Look(NamedTuple):
    """An image for the detector.

    Attributes:
        image: RGB uint8 [H, W, 3].
        stamp_ns: its stamp, nanoseconds.
        tracked: boxes of the objects that are tracked on it.
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    tracked: Any


class Pace(NamedTuple):
    """How often a detector looks.

    Attributes:
        rate: looks per second at most; 0: only when it is asked.
        share: largest share of the time that it may compute. The tracker has the rest of the time
            to itself.
    """

    rate: float
    share: float


@dataclass(frozen=True)
class Cost:
    """What a detector has cost.

    Attributes:
        looks: how many images it has looked at.
        last_s: seconds that the last one took.
        share: share of the time since the start that it computed.
        detections: that the last look found.
        info: of the detector; empty until it is open.
        problem: why it does not run, or failed on the last image; empty: it works.
    """

    looks: int = 0
    last_s: float = 0.0
    share: float = 0.0
    detections: int = 0
    info: tuple[tuple[str, str], ...] = ()
    problem: str = ''


class DetectorThread(Closing):
    """Opens, uses and closes a detector in one thread.

    It looks at the newest image when it is due, and rests afterwards, so that it computes for at
    most a share of the time.

    Attributes:
        cost: what it has cost so far; may be read from any thread.
    """

    def __init__(
        self,
        open_detector: Callable[[], Detector],
        found: Callable[[Look, Detections], None],
        pace: Callable[[], Pace],
        failed: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread; it opens the detector.

        Args:
            open_detector: called in the thread.
            found: called in the thread with an image and what was found in it.
            pace: returns how often it may look, at any time.
            failed: called with the reason if it cannot be opened, or fails on an image.
            monotonic: returns the time that passes, seconds.
        """
        self.cost = Cost()
        self._open_detector = open_detector
        self._found = found
        self._pace = pace
        self._failed = failed
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._newest: Look | None = None
        self._asked: Future[tuple[Look, Detections]] | None = None
        self._closed = False
        self._due = monotonic()
        self._began = monotonic()
        self._busy_s = 0.0
        self._thread = threading.Thread(target=self._run, name='detector', daemon=True)
        self._thread.start()

    def offer(self, look: Look) -> None:
        """Offer the newest image; never waits."""
        with self._changed:
            self._newest = look
            if self._asked is not None or self._is_due():
                self._changed.notify()

    def ask(self) -> Future[tuple[Look, Detections]]:
        """Look at the newest image as soon as possible, also if none is due.

        Returns:
            The future of the image and what was found in it; `found` is not called. It fails if
            the detector does, or ends.
        """
        with self._changed:
            if self._asked is None:
                self._asked = Future()
                if self._closed or not self._thread.is_alive():
                    self._asked.set_exception(RuntimeError(self.cost.problem or 'it is closed'))
                self._changed.notify()
            return self._asked

    def close(self) -> None:
        """End the thread, which closes the detector."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(STOP_S)

    def _is_due(self) -> bool:
        return self._pace().rate > 0 and self._monotonic() >= self._due

    def _run(self) -> None:
        try:
            detector = self._open_detector()
        except Exception as error:
            self._ended(f'the detector cannot be opened: {error}')
            return
        with detector:
            self.cost = Cost(info=tuple(detector.info.items()))
            self._began = self._monotonic()
            while (taken := self._take()) is not None:
                self._look(detector, *taken)
        self._ended('')

    def _ended(self, problem: str) -> None:
        if problem:
            self.cost = Cost(problem=problem)
            self._failed(problem)
        with self._changed:
            self._closed = True
            asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(RuntimeError(problem or 'the detector is closed'))

    def _take(self) -> tuple[Look, Future[tuple[Look, Detections]] | None] | None:
        """Wait until an image is to be looked at; None: closed."""
        with self._changed:
            while not self._closed:
                if self._newest is not None and (self._asked is not None or self._is_due()):
                    look, self._newest = self._newest, None
                    asked, self._asked = self._asked, None
                    return look, asked
                # Woken by the next image; one that is here already may become due before.
                late = self._newest is not None and self._pace().rate > 0
                left = max(self._due - self._monotonic(), 0.001) if late else None
                self._changed.wait(left)
            return None

    def _look(
        self,
        detector: Detector,
        look: Look,
        asked: Future[tuple[Look, Detections]] | None,
    ) -> None:
        start = self._monotonic()
        found, problem = None, ''
        try:
            found = detector.detect(look.image, look.tracked)
        except Exception as error:  # of one image; the next one may be all right
            problem = f'the detector failed: {type(error).__name__}: {error}'
        end = self._monotonic()
        self._busy_s += end - start
        pace = self._pace()
        rest = (end - start) * (1 / pace.share - 1)
        self._due = max(start + (1 / pace.rate if pace.rate > 0 else 0.0), end + rest)
        self.cost = Cost(
            self.cost.looks + 1,
            end - start,
            self._busy_s / max(end - self._began, 1e-9),
            0 if found is None else len(found),
            self.cost.info,
            problem,
        )
        if found is None:
            self._failed(problem)
            if asked is not None:
                asked.set_exception(RuntimeError(problem))
        elif asked is not None:
            asked.set_result((look, found))
        else:
            self._found(look, found)
