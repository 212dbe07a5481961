# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The neighbours that NOH-NMS expects, from tracked objects instead of a network.

The official network predicts, for each box, the box of the nearest other person, and how much the
two overlap. On a robot that tracks them, the tracker knows both: of the tracked objects, the one
that a box overlaps most is its own, and the second one is the neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.detection.detections import checked_boxes
from tam_ros.detection.suppression import overlaps


def tracked_neighbours(
    boxes: NDArray[Any], tracked: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the neighbours of boxes, for `suppress`.

    Args:
        boxes: [N, 4].
        tracked: boxes [T, 4] of the tracked objects.

    Returns:
        Boxes [N, 4] of the neighbours, and their probabilities [N]: the intersection over union
        of the two; 0 where there is none.

    Raises:
        ValueError: a box is not finite, or has swapped corners.
    """
    boxes, known = checked_boxes(boxes, 'boxes'), checked_boxes(tracked, 'tracked')
    if len(known) < 2 or not len(boxes):
        return np.zeros((len(boxes), 4)), np.zeros(len(boxes))
    shared = overlaps(boxes, known)
    second = np.argsort(-shared, 1, kind='stable')[:, 1]
    return known[second], np.take_along_axis(shared, second[:, None], 1)[:, 0]
