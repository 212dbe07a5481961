# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Statistics of a robot's sensors, averaged over windows of time."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

MAX_CHANNELS = 64
"""Most channels that are followed; comparing them takes time with their cube."""


class Windows:
    """Averages the values of each channel over consecutive windows.

    A channel is a name such as `track_node/area`. It exists from its first value on.
    """

    def __init__(self, length_s: float, kept: int) -> None:
        """Begin with the first value.

        Args:
            length_s: length of a window, seconds.
            kept: how many complete windows are kept.
        """
        self._length_s = length_s
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._largest: dict[str, float] = {}
        self._complete: deque[dict[str, float]] = deque(maxlen=kept)
        self._channels: dict[str, None] = {}
        self._end: float | None = None
        self.refused_channels = 0

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in order of their first value."""
        return tuple(self._channels)

    def __len__(self) -> int:
        """Return the number of complete windows that are kept."""
        return len(self._complete)

    def add(self, channel: str, value: float, largest: bool = False) -> None:
        """Add a value to the present window; one that is not finite is left out.

        Args:
            channel: name of the channel.
            value: the value.
            largest: the window has the largest of its values instead of their mean, as for gaps.
        """
        if not math.isfinite(value):
            return
        if channel not in self._channels:
            if len(self._channels) >= MAX_CHANNELS:
                self.refused_channels += 1
                return
            self._channels[channel] = None
        if largest:
            self._largest[channel] = max(value, self._largest.get(channel, -math.inf))
        else:
            self._sums[channel] = self._sums.get(channel, 0.0) + value
            self._counts[channel] = self._counts.get(channel, 0) + 1

    def advance(self, now_s: float) -> int:
        """Complete the present window if its time is over; return how many were completed.

        Args:
            now_s: time of a clock that never goes back. After a pause of several windows, the
                missing ones are left out.
        """
        if self._end is None:
            self._end = now_s + self._length_s
        if now_s < self._end:
            return 0
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._complete.append({**means, **self._largest})
        self._sums, self._counts, self._largest = {}, {}, {}
        self._end += self._length_s
        if self._end <= now_s:
            self._end = now_s + self._length_s
        return 1

    def table(self, channels: tuple[str, ...], newest: int | None = None) -> NDArray[np.float64]:
        """Return windows as float64 [n, channels], oldest first; NaN: no value.

        Args:
            channels: the columns.
            newest: how many windows at most; None: all that are kept.
        """
        rows = list(self._complete)[-newest if newest else 0 :]
        return np.array(
            [[row.get(name, np.nan) for name in channels] for row in rows], dtype=np.float64
        ).reshape(len(rows), len(channels))

    def clear(self) -> None:
        """Forget the complete windows."""
        self._complete.clear()
