# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the values of a depth image mean, and in words why none of them can be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Depth = NDArray[np.uint16] | NDArray[np.float32]

_REP_118 = {np.dtype(np.uint16): 0.001, np.dtype(np.float32): 1.0}
"""Metres of one unit, by type: https://www.ros.org/reps/rep-0118.html"""

_FEW = 0.001  # a share of the measured pixels that is due to noise


@dataclass(frozen=True)
class DepthOptions:
    """Which depths are used.

    Attributes:
        nearest: metres; depths up to this are ignored as sensor errors. 0: no lower limit.
        farthest: metres; depths from this on are ignored as sensor errors.
        erosion: pixels removed along the edge of a mask, where mask and depth are least accurate.
        points: maximum number of points used for one object. More points take more time and
            hardly change the median.
        unit: metres of one unit of the values. 0: those of REP 118, millimetres for integers and
            metres for floating-point numbers.
    """

    nearest: float = 0.1
    farthest: float = 10.0
    erosion: int = 1
    points: int = 5000
    unit: float = 0.0

    def metres(self, dtype: np.dtype) -> float:
        """Return the metres of one unit of depth of this type, uint16 or float32."""
        return self.unit or _REP_118[dtype]


DEFAULTS = DepthOptions()


def usable(depth: Depth, options: DepthOptions) -> NDArray[np.bool_]:
    """Return which values are measured and within the limits, bool [H, W]; NaN is not."""
    unit = options.metres(depth.dtype)
    # Comparing with float32 takes half the time. Both comparisons are false for NaN.
    nearest, farthest = np.float32(options.nearest / unit), np.float32(options.farthest / unit)
    found: NDArray[np.bool_] = (depth > nearest) & (depth < farthest)
    return found


def why_unusable(depth: Depth, options: DepthOptions) -> str:
    """Return why no value of a depth image can be used; empty if some can.

    Args:
        depth: uint16 or float32 [H, W].
        options: the limits, and the unit.
    """
    few = depth[::4, ::4]
    if np.count_nonzero(usable(few, options)) > _FEW * few.size:
        return ''
    measured = depth[(depth > 0) & (depth < np.inf)]
    if not measured.size:
        return 'nothing is measured: every value is 0 or not a number'
    if np.count_nonzero(usable(depth, options)) > _FEW * measured.size:
        return ''
    low, middle, high = (float(value) for value in np.percentile(measured, (0, 50, 100)))
    unit = options.metres(depth.dtype)
    nearest, farthest = options.nearest, options.farthest
    text = f'no depth is between depth_min {nearest:g} m and depth_max {farthest:g} m: '
    text += f'values from {low:g} to {high:g}'
    if unit != 1:
        text += f', which is {low * unit:g} to {high * unit:g} m'
    if options.unit:
        text += f' with depth_unit {unit:g}'
    encoding, right = ('16UC1', 'millimetres') if depth.dtype == np.uint16 else ('32FC1', 'metres')
    for name, other in (('millimetres', 0.001), ('metres', 1.0), ('tenths of a millimetre', 1e-4)):
        if other != unit and nearest < middle * other < farthest:
            rule = '' if options.unit else f' {encoding} must be {right} (REP 118);'
            return f'{text}: {name}?{rule} set depth_unit to {other:g}'
    return text
