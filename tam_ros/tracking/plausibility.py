# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whether a mask is likely to show the object, judged by how sure the model usually is of it.

When an object has left the image, the object score of a model may stay high, and its mask lies on
something else. The mask decoder is less sure of such a mask: its predicted IoU and the logits
inside the mask are lower than they were on the object. How high they are on the object depends on
the model and on the object, so they are compared with the object's own recent values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from tam_ros.runtime.base import Floats

WINDOW = 15
"""Recent images of an object that its usual confidence is the median of."""

NEEDED = 3
"""Tracked images of an object before its masks are judged."""


def confidence(logits: Floats, predicted_iou: float) -> float:
    """Return how sure the mask decoder is of a mask: predicted IoU times the mean logit inside.

    Args:
        logits: logits of the mask [M, M].
        predicted_iou: predicted IoU of the mask.

    Returns:
        0 for an empty mask.
    """
    inside = logits[logits > 0]
    return max(predicted_iou, 0.0) * float(inside.mean()) if inside.size else 0.0


class Confidences:
    """The confidence of an object's masks on recent images that were taken for the object."""

    def __init__(self, keep: int, values: Iterable[tuple[int, float]] = ()) -> None:
        """Begin with the values of images, oldest first.

        Args:
            keep: images beyond `WINDOW` that a late prompt may go back.
            values: index of the image, and confidence.
        """
        self._keep = keep
        self._values = deque(values, maxlen=WINDOW + keep)

    def add(self, index: int, value: float) -> None:
        """Add the confidence on an image."""
        self._values.append((index, value))

    def clear(self) -> None:
        """Forget all, since a prompt has shown what the object is."""
        self._values.clear()

    def before(self, index: int) -> Confidences:
        """Return what was known before an image."""
        return Confidences(self._keep, (item for item in self._values if item[0] < index))

    def plausible(self, value: float, share: float) -> bool:
        """Return whether a confidence is at least a share of the usual one.

        True as long as there are fewer than `NEEDED` images to compare with.
        """
        recent = [known for _, known in self._values][-WINDOW:]
        return len(recent) < NEEDED or value >= share * float(np.median(recent))
