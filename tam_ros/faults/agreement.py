# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which pairs of channels stopped agreeing since a baseline.

Channels are compared in units of the baseline: minus its mean, divided by its standard deviation.
The agreement of two channels is the mean product of their values, divided by their root mean
squares. It is a correlation whose means are those of the baseline, so that a sensor that began to
read too much counts as well, not only one that fluctuates differently. (With the means of the
recent windows, the plain measure found a biased depth sensor in 6 of the 200 cases of
`python -m benchmark.faults` instead of 126.)

Two measures say how much a pair has changed: the plain difference of the two agreements, and the
entry of the pair in S of the robust graphical lasso, whose bounds lie around the precision matrix
of the baseline. Both are divided by what they reach in the baseline itself, so 1 is the most that
was seen while all was well, and some more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tam_ros.faults.graphical_lasso import ConvergenceError, robust_graphical_lasso

RHO = 0.1  # penalty of the precision matrix, for channels of variance 1
STRETCHES = 40  # of the baseline, which are compared with the whole
_MARGIN = 1.2  # a change counts if it is greater than any in the baseline by this factor
_FLOOR = 0.05  # smallest change of an agreement that is one, beside the spread of its pair
_LEAST_BOUND = 0.02  # of an entry of the precision matrix
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class PairChange:
    """A pair of channels, now and in the baseline.

    Attributes:
        first: name of a channel.
        second: name of the other.
        before: agreement in the baseline, -1 to 1.
        now: agreement now.
        plain: change of the agreement; above 1: more than ever in the baseline.
        robust: entry of S, likewise.
    """

    first: str
    second: str
    before: float
    now: float
    plain: float
    robust: float


@dataclass(frozen=True)
class Comparison:
    """What became of the agreements.

    Attributes:
        pairs: all pairs that can be compared, the most changed first: by the larger measure.
        silent: channels of the baseline that have values in less than half of the windows.
    """

    pairs: tuple[PairChange, ...]
    silent: tuple[str, ...]


class Agreement:
    """The agreement of all pairs of channels in a baseline, and how much it varies there.

    Attributes:
        channels: names of the columns.
        mean: mean of each channel.
    """

    def __init__(self, channels: Sequence[str], windows: NDArray[np.float64], recent: int) -> None:
        """Learn it.

        Args:
            channels: names of the columns.
            windows: float64 [n, channels], all finite; no column is constant.
            recent: how many windows will be compared at a time.
        """
        self.channels = tuple(channels)
        self.mean = windows.mean(axis=0)
        self._scale = windows.std(axis=0)
        values = self._in_units(windows)
        self._before = _agreement(values)
        self._precision = robust_graphical_lasso(
            self._before, RHO, np.inf, tolerance=_TOLERANCE
        ).precision
        starts = np.linspace(0, len(values) - recent, STRETCHES).astype(int)
        stretches = [_agreement(values[start : start + recent]) for start in starts]
        differences = [stretch - self._before for stretch in stretches]
        self._spread = np.sqrt(np.mean(np.square(differences), axis=0)) + _FLOOR
        self._plain_limit = _MARGIN * max(
            float(abs(one / self._spread).max()) for one in differences
        )
        moved = [
            robust_graphical_lasso(one, RHO, np.inf, tolerance=_TOLERANCE).precision
            - self._precision
            for one in stretches
        ]
        self._bounds = np.sqrt(np.mean(np.square(moved), axis=0)) + _LEAST_BOUND
        everything = np.arange(len(self.channels))
        self._robust_limit = _FLOOR + _MARGIN * max(
            float(abs(self._changed(one, everything)).max()) for one in stretches
        )

    def compare(self, windows: NDArray[np.float64]) -> Comparison:
        """Compare recent windows with the baseline.

        Args:
            windows: float64 [n, channels] with the columns of the baseline; NaN: no value.
        """
        known = np.isfinite(windows)
        heard = known.mean(axis=0) >= 0.5 if len(windows) else np.zeros(len(self.channels), bool)
        silent = tuple(name for name, has in zip(self.channels, heard, strict=True) if not has)
        columns = np.flatnonzero(heard)
        if not len(columns):
            return Comparison((), silent)
        values = self._in_units(windows)[known[:, columns].all(axis=1)][:, columns]
        if len(values) < 2:
            return Comparison((), silent)
        now = _agreement(values)
        part = np.ix_(columns, columns)
        before = self._before[part]
        plain = abs(now - before) / self._spread[part] / self._plain_limit
        robust = abs(self._changed(now, columns)) / self._robust_limit
        pairs = [
            PairChange(
                self.channels[columns[i]],
                self.channels[columns[j]],
                float(before[i, j]),
                float(now[i, j]),
                float(plain[i, j]),
                float(robust[i, j]),
            )
            for i, j in zip(*np.triu_indices(len(columns), 1), strict=True)
        ]
        pairs.sort(key=lambda pair: -max(pair.plain, pair.robust))
        return Comparison(tuple(pairs), silent)

    def _in_units(self, windows: NDArray[np.float64]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = (windows - self.mean) / self._scale
        return values

    def _changed(self, now: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return S; NaN if it was not found."""
        part = np.ix_(columns, columns)
        centre = self._precision[part]
        if len(columns) < len(self.channels):  # what was conditional on the others is not any more
            centre = robust_graphical_lasso(
                self._before[part], RHO, np.inf, tolerance=_TOLERANCE
            ).precision
        try:
            return robust_graphical_lasso(
                now, RHO, self._bounds[part], centre, tolerance=_TOLERANCE
            ).changed
        except ConvergenceError:
            return np.full_like(now, np.nan)


def _agreement(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean products of columns in units of their root mean square: [p, p]."""
    # A channel that froze near its mean: its square is not zero, or its agreement is noise.
    size = np.sqrt(np.square(values).mean(axis=0) + 1e-2)
    products: NDArray[np.float64] = values.T @ values / len(values) / np.outer(size, size)
    np.fill_diagonal(products, 1.0)
    return products
