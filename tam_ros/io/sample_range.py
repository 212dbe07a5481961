# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images of more than eight bits as eight bits: which values become black and white.

A 16-bit image rarely uses 16 bits. Cameras of 10, 12 or 14 bits store their values unchanged in
the lower bits, so that the upper byte of every sample is nearly 0; thermal cameras use a small
part of their range, far from 0. The values themselves tell which.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = 250  # of an image, from which its range is estimated
_NARROW = 8  # a range that is smaller than this part of the whole one is spread

_log = logging.getLogger(__name__)


class SampleRange:
    """The range of values in a stream of images, and the conversion of these images to 8 bits.

    The range only grows: it is that of all images so far, rounded generously, so that the
    brightness of an object does not change with the contents of the image. A value counts if two
    pixels side by side have it, so that hot and dead pixels do not.

    - Usually 0 is black and a power of two white: the one of 8, 10, 12, 14 or 16 bits that holds
      the values.
    - Grey values that use less than an eighth of that (thermal cameras) are spread.
    - Floating-point values up to 1 are read as 0 to 1.
    """

    def __init__(self, report: Callable[[str], None] = _log.warning) -> None:
        """Start with an empty range.

        Args:
            report: called with a sentence for the user, once for each range that is chosen,
                unless it is the one that the type suggests.
        """
        self._report = report
        self._low, self._high = np.inf, -np.inf
        self._black, self._white = 0.0, 0.0

    def to_8_bits(self, samples: NDArray[Any], spread: bool = True) -> NDArray[np.uint8]:
        """Return the samples of an image as uint8; values out of the range are limited to it.

        Args:
            samples: [H, W] or [H, W, C], integers of more than eight bits or floating-point
                numbers. NaN becomes black.
            spread: whether a narrow range may be spread, which would change colours.
        """
        if samples.dtype.kind == 'f':
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = _extremes(samples)
        if low < self._low or high > self._high:
            self._low, self._high = min(self._low, low), max(self._high, high)
            self._grow(samples.dtype, spread)
        black, white = self._black, self._white
        if samples.dtype == np.uint16 and black == 0:
            bits = int(white).bit_length() - 9
            wide = samples if white == 65536 else np.minimum(samples, np.uint16(white - 1))
            return np.asarray(np.right_shift(wide, bits), np.uint8)
        factor = 256 / (white - black)
        scaled = (samples.astype(np.float32) - black) * np.float32(factor)
        return np.asarray(np.clip(scaled, 0, 255, out=scaled), np.uint8)

    def _grow(self, dtype: np.dtype, spread: bool) -> None:
        """Choose black and white for the present range, if it is not within the previous one."""
        if self._white > self._black and self._black <= self._low and self._high < self._white:
            return
        if dtype.kind == 'f' and self._low >= 0 and self._high <= 1:
            self._black, self._white = 0.0, 256 / 255
            return
        bits = max(8, int(max(self._high, 1)).bit_length())
        bits += bits % 2
        black, white = 0.0, float(2**bits)
        used = self._high - self._low
        if spread and (used * _NARROW < white - 256 or self._low < 0):
            # Twice the range, so that it is seldom exceeded, and at least 256 values, so that
            # noise is not amplified without limit.
            width = max(2 * used, 256.0)
            black = float(np.floor((self._low + self._high - width) / 2))
            white = black + width
            self._report(
                f'the images have {dtype} values from {self._low:g} to {self._high:g}: '
                f'{black:g} is read as black and {white:g} as white'
            )
        elif bits != 8 * dtype.itemsize:
            self._report(
                f'the images have {dtype} values up to {self._high:g}: they are read as {bits} '
                f'bits, so that {white - 1:g} is white'
            )
        self._black, self._white = black, white


def _extremes(samples: NDArray[Any]) -> tuple[float, float]:
    """Return the lowest and the highest value that two neighbours have, in some of the rows."""
    rows = samples[:: max(1, samples.shape[0] // _ROWS)]
    near = (rows[:, :-1], rows[:, 1:]) if rows.shape[1] > 1 else (rows, rows)
    return float(np.maximum(*near).min()), float(np.minimum(*near).max())
