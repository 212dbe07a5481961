# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Contour accuracy F of two masks, as in the DAVIS challenge.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016, section 5; the boundary is that of Martin, Fowlkes and Malik, PAMI 2004. Details that
the papers leave open follow the reference code, davis2017-evaluation.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from tam_ros.evaluation.jaccard import without_void

TOLERANCE = 0.008
"""Largest distance of matching boundary pixels, as a fraction of the image diagonal."""


def contour_accuracy(
    truth: np.ndarray, prediction: np.ndarray, void: np.ndarray | None = None
) -> float:
    """Return F of one object in one frame: 2PR/(P+R) of the boundaries, 1 where both are empty.

    Args:
        truth: bool [H, W].
        prediction: bool [H, W].
        void: bool [H, W], pixels to ignore, or None.

    Raises:
        ValueError: the masks differ in shape.
    """
    truth, prediction = without_void(truth, prediction, void)
    expected, found = boundary(truth), boundary(prediction)
    if not expected.any() or not found.any():
        return float(expected.any() == found.any())
    disc = _disc(math.ceil(TOLERANCE * math.hypot(*truth.shape)))
    precision = (found & _dilate(expected, disc)).sum() / found.sum()
    recall = (expected & _dilate(found, disc)).sum() / expected.sum()
    if precision + recall == 0:
        return 0.0
    return float(2 * precision * recall / (precision + recall))


def boundary(mask: np.ndarray) -> np.ndarray:
    """Return bool [H, W]: pixels that differ from their right, lower or lower right neighbour.

    Neighbours outside the image are not compared, so the edge of the image is not a boundary.
    """
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edges[:-1] |= mask[:-1] ^ mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def _disc(radius: int) -> np.ndarray:
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


def _dilate(edges: np.ndarray, disc: np.ndarray) -> np.ndarray:
    return cv2.dilate(edges.view(np.uint8), disc).view(bool)
