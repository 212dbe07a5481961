# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is asked of the tracker, by whichever way it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tam_ros.tracking import Prompt


class Action(IntEnum):
    """What a prompt asks for; the numbers are those of tam_ros/msg/Prompt."""

    ADD = 0
    REFINE = 1
    REPLACE = 2
    REMOVE = 3


@dataclass(frozen=True)
class PromptRequest:
    """A prompt whose parts agree with each other, not yet with the tracker.

    Attributes:
        action: what it asks for.
        object_id: the object meant; 0: a new one.
        stamp_ns: stamp of the image that was clicked, nanoseconds; 0: the next image.
        label: name for the object, or empty.
        points: (x, y) in pixels.
        labels: 1 on the object, 0 off it; as many as points.
        box: (x0, y0, x1, y1) in pixels, or None.
        mask: bool [H, W], or None.
    """

    action: Action
    object_id: int = 0
    stamp_ns: int = 0
    label: str = ''
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = field(default=None, compare=False)

    def prompt(self, object_id: int, stamped: bool = True) -> Prompt:
        """Return it as the tracker's own prompt for the object `object_id`.

        Args:
            object_id: chosen for it.
            stamped: whether it says on which image it was made.

        Raises:
            PromptError: not finite, swapped or empty; what the tracker's prompts refuse.
        """
        how = {
            'replace': self.action is Action.REPLACE,
            'stamp': self.stamp_ns / 1e9 if stamped and self.stamp_ns else None,
        }
        if self.mask is not None:
            return Prompt.mask(object_id, self.mask, **how)
        if self.box is not None:
            return Prompt.box(object_id, self.box, self.points, self.labels, **how)
        return Prompt.points(object_id, self.points, self.labels, **how)
