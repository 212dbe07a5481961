# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tells masks with a soft edge, whose shades are no objects, from label images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_FEWEST_SHADES = 3
_INNER_SHARE = 0.1  # of the pixels of a shade: so many may have it all around them


def has_soft_edge(values: NDArray[np.integer[Any]], ids: Sequence[int]) -> bool:
    """Return whether grey values look like the shades along the edge of one mask.

    A soft mask reaches from black to nearly white, and no shade fills an area. Ids are usually
    small, and two of them are not taken for shades.

    Args:
        values: [H, W].
        ids: the values above 0, in ascending order.
    """
    if len(ids) < _FEWEST_SHADES or ids[-1] <= np.iinfo(np.uint8).max // 2:
        return False
    square = np.ones((3, 3), np.uint8)
    for shade in ids[:-1]:
        area = (values == shade).astype(np.uint8)
        if np.count_nonzero(cv2.erode(area, square)) > _INNER_SHARE * np.count_nonzero(area):
            return False
    return True
