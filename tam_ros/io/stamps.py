# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Stamps of images: their own, or the time of arrival where the driver gives none that is usable.

Some drivers leave the stamp zero or uninitialised, or give every image the same one. The node and
`tam track` both take the stamps from here, so that both track such a stream and publish the same
stamps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

NANOSECONDS = 1_000_000_000

_STUCK_AFTER = 3  # equal stamps; two may be one image that was sent twice
_SPACING_NS = NANOSECONDS // 30  # where the times of arrival are constant as well


class ImageStamps:
    """The stamps of one stream of images."""

    def __init__(self, warn: Callable[[str], None], stuck: bool = False) -> None:
        """Begin a stream.

        Args:
            warn: called once with the reason if the stamps cannot be used.
            stuck: whether the first images are known to have equal stamps.
        """
        self._warn = warn
        self._stuck = stuck
        self._previous_ns: int | None = None
        self._repeated = 0
        self._arrived_ns: int | None = None  # the last time of arrival that was given as a stamp
        self._warned: set[str] = set()

    def stamp_ns(self, seconds: int, nanoseconds: int, arrival_ns: int) -> int:
        """Return the stamp of the next image, nanoseconds.

        Args:
            seconds: `sec` of the stamp in its header.
            nanoseconds: `nanosec` of it.
            arrival_ns: when the image was received or recorded, nanoseconds.
        """
        own_ns = seconds * NANOSECONDS + nanoseconds
        if self._previous_ns is None or not _same(own_ns, self._previous_ns):
            self._stuck = self._stuck and self._previous_ns is None
            self._repeated = 0
        self._previous_ns = own_ns
        self._repeated += 1
        if own_ns == 0:
            return self._arrival(arrival_ns, 'zero')
        if nanoseconds >= NANOSECONDS:
            return self._arrival(arrival_ns, 'not valid, their nanoseconds are a second or more')
        if self._stuck or self._repeated >= _STUCK_AFTER:
            self._stuck = True
            return self._arrival(arrival_ns, 'all the same')
        self._arrived_ns = None
        return own_ns

    def _arrival(self, arrival_ns: int, reason: str) -> int:
        if reason not in self._warned:
            self._warned.add(reason)
            self._warn(f'the stamps of the images are {reason}: the time of arrival is used')
        if self._arrived_ns is not None and arrival_ns <= self._arrived_ns:
            arrival_ns = self._arrived_ns + _SPACING_NS
        self._arrived_ns = arrival_ns
        return arrival_ns


def are_stuck(stamps_ns: Sequence[int]) -> bool:
    """Return whether the first stamps of a stream are equal, and not just those of one image."""
    first = stamps_ns[:_STUCK_AFTER]
    return len(first) == _STUCK_AFTER and all(_same(one, first[0]) for one in first)


def median_rate(stamps_ns: Sequence[int]) -> float | None:
    """Return the usual number of images per second; None if the stamps do not tell it."""
    intervals = sorted(
        later - earlier
        for earlier, later in zip(stamps_ns, stamps_ns[1:], strict=False)
        if later > earlier and not _same(later, earlier)
    )
    return NANOSECONDS / intervals[len(intervals) // 2] if intervals else None


def _same(one_ns: int, other_ns: int) -> bool:
    """Return whether floats of seconds, which the tracker uses, hardly tell two stamps apart."""
    return abs(one_ns - other_ns) <= 4 * math.ulp(one_ns / NANOSECONDS) * NANOSECONDS
