# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the stamps of a stream mean for its objects, in the node and in recordings.

Time jumps back when a bag loops or a clock is set; images can also arrive late or twice.
"""

from __future__ import annotations

import math

from tam_ros.tracking import FrameError

NANOSECONDS = 1_000_000_000

TIME_JUMP = 1.0
"""Seconds by which stamps must jump back to count as a new recording, if nothing else is set."""


class StaleFrameError(FrameError):
    """An image that is not newer than the previous one, or alone far ahead of it."""


class StreamClock:
    """The newest stamp of a stream, with which each new one is compared."""

    def __init__(self) -> None:
        """Begin a stream."""
        self._newest_ns: int | None = None
        self._arrival: float | None = None  # of the image with the newest stamp
        self._ahead_ns: int | None = None  # stamp of the previous image, if it was refused

    def check(
        self, stamp_ns: int, time_jump: float = TIME_JUMP, arrival: float | None = None
    ) -> float:
        """Compare the stamp of the next image with the newest one.

        Args:
            stamp_ns: stamp of the image, nanoseconds.
            time_jump: stamps that go back by more seconds start a new recording.
            arrival: when the image arrived, seconds of a monotonic clock; None: a recording, whose
                pauses cannot be told from jumps ahead.

        Returns:
            By how many seconds time jumped back, or minus those that it jumped ahead of the time
            that passed: the objects are kept and the clock restarts. 0 if it did not.

        Raises:
            StaleFrameError: the image is not newer than the previous one; or it is further ahead
                than `time_jump`, and the image before it was not: one wrong stamp must not move
                the clock.
        """
        newest_ns, ahead_ns, self._ahead_ns = self._newest_ns, self._ahead_ns, None
        if newest_ns is not None and arrival is not None and self._arrival is not None:
            passed = arrival - self._arrival
            ahead = (stamp_ns - newest_ns) / NANOSECONDS - passed
            if ahead > time_jump:
                if ahead_ns is not None and stamp_ns > ahead_ns:
                    return -ahead
                self._ahead_ns = stamp_ns
                raise StaleFrameError(
                    f'the image has a stamp {ahead:.3f} s too far ahead of the previous one'
                )
        # Seconds as the tracker computes them.
        if newest_ns is None or stamp_ns / NANOSECONDS > newest_ns / NANOSECONDS:
            return 0.0
        back = (newest_ns - stamp_ns) / NANOSECONDS
        if back > time_jump:
            return back
        if back <= math.ulp(newest_ns / NANOSECONDS):
            raise StaleFrameError(
                f'the image has the stamp of the previous one ({stamp_ns / NANOSECONDS:.9f} s): '
                f'the driver must give every image its own stamp'
            )
        raise StaleFrameError(f'the image is {back:.3f} s older than the previous one')

    def accept(self, stamp_ns: int, arrival: float | None = None) -> None:
        """Note the stamp of an image that was tracked, nanoseconds, and its arrival as above."""
        self._newest_ns = stamp_ns
        self._arrival = arrival

    def restart(self) -> None:
        """Forget the newest stamp."""
        self._newest_ns = None
