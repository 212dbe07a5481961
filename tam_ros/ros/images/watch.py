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
        self._received = False
        self._usual_s = 0.0
        self._silence = _Silence()
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
        heard: bool,
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
            heard: whether there is a publisher whose images could arrive.
            explain: returns why no image arrives, or an empty string; called only then.
            remedy: what helps against losses.
        """
        self._now_s += seconds
        lines = []
        if mixed != self._mixed:
            self._mixed = mixed
            if mixed and self._may_say(mixed):
                lines.append(Line(True, mixed))
        if received:
            lines += self._returned(topic)
        else:
            lines += self._silent(seconds, topic, timeout_s, heard, explain)
        self.problem = mixed or self._reason
        if window := self._losses.add(seconds, received, lost):
            lost, sent = window
            if lost > MAX_LOST_SHARE * sent and self._may_say('loss'):
                text = f'of the last {sent} {self._what}s {lost} were lost in transport'
                lines.append(Line(True, f'{text}: {remedy}'))
        return lines

    def _returned(self, topic: str) -> list[Line]:
        silence, self._silence = self._silence, _Silence()
        first, self._received = not self._received, True
        self._reason = ''
        if silence.always_heard and not first:
            # Of a camera that is slower than the timeout, or that pauses.
            self._usual_s = max(self._usual_s, silence.seconds)
        if first or not silence.said:
            return []
        text = f'{self._what}s arrive again on {topic} after {silence.seconds:.1f} s'
        return [Line(False, text)]

    def _silent(
        self,
        seconds: float,
        topic: str,
        timeout_s: float,
        heard: bool,
        explain: Callable[[], str],
    ) -> list[Line]:
        silence = self._silence
        silence.add(seconds, heard)
        # A new publisher is given time for its first image.
        due = silence.seconds >= timeout_s and (not heard or silence.heard_s >= timeout_s)
        reason = explain() if due else ''
        # What is discovered in parts is said when it has stayed the same.
        self._reason = reason if reason == silence.newest_reason else ''
        silence.newest_reason = reason
        unusual = not heard or not self._received or silence.seconds > 2 * self._usual_s
        if not self._reason or self._reason in silence.said or not unusual:
            return []
        silence.said.add(self._reason)
        since = f'for {silence.seconds:.1f} s' if self._received else 'so far'
        return [Line(True, f'no {self._what} on {topic} {since}: {self._reason}')]

    def _may_say(self, text: str) -> bool:
        """Return whether a text was not said lately."""
        if self._now_s - self._said.get(text, -REPEAT_S) < REPEAT_S:
            return False
        self._said[text] = self._now_s
        return True


class _Silence:
    """A time without an image.

    Attributes:
        seconds: how long it has lasted.
        heard_s: for how long there has been a publisher.
        always_heard: whether there was one all the time.
        newest_reason: the newest explanation.
        said: the reasons that were logged.
    """

    def __init__(self) -> None:
        self.seconds = self.heard_s = 0.0
        self.always_heard = True
        self.newest_reason = ''
        self.said: set[str] = set()

    def add(self, seconds: float, heard: bool) -> None:
        """Let time pass without an image."""
        self.seconds += seconds
        self.heard_s = self.heard_s + seconds if heard else 0.0
        self.always_heard = self.always_heard and heard


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
