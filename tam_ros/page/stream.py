# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What one browser gets and may send: one frame on its way at a time, and a limited rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar


class Numbered(Protocol):
    """Anything with a number that grows."""

    @property
    def number(self) -> int:
        """The number."""


_T = TypeVar('_T', bound=Numbered)


class FrameFlow:
    """Decides which frame is sent next: the newest, once the previous one is acknowledged.

    So a browser on a slow network, or one that draws slowly, is late by one frame, and nothing
    queues up for one that has stopped to acknowledge.
    """

    def __init__(self) -> None:
        self._on_its_way: int | None = None
        self._newest_sent = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a frame has been sent that is not acknowledged."""
        return self._on_its_way is not None

    def take(self, newest: _T | None) -> _T | None:
        """Return the frame to send now, which then counts as sent; None: nothing now.

        Args:
            newest: the newest frame; None: there is none.
        """
        if newest is None or self.is_waiting or newest.number <= self._newest_sent:
            return None
        self._on_its_way = self._newest_sent = newest.number
        return newest

    def acknowledge(self, number: int) -> bool:
        """Note that a frame has been drawn; return whether it was the one on its way."""
        if number != self._on_its_way:
            return False
        self._on_its_way = None
        return True

    def restart(self) -> None:
        """Let a frame be sent again that was sent before, as after another choice of camera."""
        self._newest_sent = 0


class RateLimit:
    """Limits how many messages arrive: a bucket that fills steadily."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with a full bucket.

        Args:
            per_second: messages per second that are allowed in the long run.
            burst: messages that are allowed at once.
            clock: returns the time that passes, seconds.
        """
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._counted_s = float(burst), clock()

    def allow(self) -> bool:
        """Count a message; return whether it is within the limit."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._counted_s) * self._per_second)
        self._counted_s = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
