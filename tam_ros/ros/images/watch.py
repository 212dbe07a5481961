# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What to log about a stream of images: none arrives, it stops, it returns, many are lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MAX_LOST_SHARE = 0.05
"""Share of the images that the transport may lose."""

REPEAT_S = 60.0
"""Seconds after which the same line may be logged again."""

_WINDOW_S = 5.0


class Line(NamedTuple):
    """A line for the log: whether it is a warning, and its text."""

    warning: bool
    text: str


class Watch:
    """Follows a stream. Whatever lasts or repeats is said once, losses once in `REPEAT_S` seconds.

    Attributes:
        problem: what is wrong with the stream now, or empty.
    """

    def __init__(self, what: str) -> None:
        """Start at a time at which no image has arrived.

        Args:
            what: what is watched, such as `image`.
        """
        self.problem = ''
        self._what = what
        self._now_s = 0.0
        self._silent_s = 0.0
        self._received = False
        self._silence_said = False
        self._mixed = self._reason = ''
        self._said: dict[str, float] = {}
        self._losses = _Losses()

    def look(
        self,
        seconds: float,
        received: int,
        lost: int,
        *,
        topic: str,
        timeout_s: float,
        mixed: str,
        explain: Callable[[], str],
        remedy: str = '',
    ) -> list[Line]:
        """Return the lines to log now, and set `problem`.

        Args:
            seconds: time since the previous call.
            received: images that have arrived since then.
            lost: images that the transport has lost since then.
            topic: the topic that is subscribed to.
            timeout_s: seconds without an image after which that is a problem.
            mixed: what is wrong with the publishers even if images arrive, or empty.
            explain: returns why no image arrives, or an empty string; called only then.
            remedy: what helps against losses.
        """
        self._now_s += seconds
        lines = []
        if received:
            if self._silence_said:
                text = f'{self._what}s arrive again on {topic} after {self._silent_s:.1f} s'
                lines.append(Line(False, text))
            self._received, self._silent_s = True, 0.0
            self._reason, self._silence_said = '', False
        else:
            self._silent_s += seconds
        if mixed != self._mixed:
            self._mixed = mixed
            if mixed and self._may_say(mixed):
                lines.append(Line(True, mixed))
        reason = explain() if self._silent_s > timeout_s else ''
        if reason and reason != self._reason:
            self._reason = reason
            if self._may_say(reason):
                self._silence_said = self._received
                since = f'for {self._silent_s:.1f} s' if self._received else 'so far'
                lines.append(Line(True, f'no {self._what} on {topic} {since}: {reason}'))
        self.problem = mixed or reason
        if window := self._losses.add(seconds, received, lost):
            lost, sent = window
            if lost > MAX_LOST_SHARE * sent and self._may_say('loss'):
                text = f'of the last {sent} {self._what}s {lost} were lost in transport'
                lines.append(Line(True, f'{text}: {remedy}'))
        return lines

    def _may_say(self, text: str) -> bool:
        """Return whether a text was not said lately; a camera may be slower than the timeout."""
        if self._now_s - self._said.get(text, -REPEAT_S) < REPEAT_S:
            return False
        self._said[text] = self._now_s
        return True


class _Losses:
    """Counts lost images over windows of a few seconds."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._lost = self._sent = 0

    def add(self, seconds: float, received: int, lost: int) -> tuple[int, int] | None:
        """Add images; at the end of a window return how many of how many were lost."""
        self._seconds += seconds
        self._lost += lost
        self._sent += received + lost
        if self._seconds < _WINDOW_S:
            return None
        window = self._lost, self._sent
        self._seconds, self._lost, self._sent = 0.0, 0, 0
        return window
