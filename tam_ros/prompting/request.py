# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One request to the tracker, the same whether it comes from a message, a click or a detection."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tam_ros.tracking import Prompt


class Action(IntEnum):
    """What a request does to its object; the numbers are those of tam_ros/msg/Prompt."""

    ADD = 0
    REFINE = 1
    REPLACE = 2
    REMOVE = 3


@dataclass(frozen=True)
class PromptRequest:
    """A request whose fields are consistent; the tracker has not checked it yet.

    Attributes:
        action: what to do.
        object_id: the object; 0 for a new one.
        stamp_ns: stamp of the image the prompt was made on, nanoseconds; 0: the next image.
        name: of the object, or empty.
        points: (x, y) in pixels of the image.
        point_labels: one per point: 1 on the object, 0 off it.
        box: (x0, y0, x1, y1) in pixels of the image, or None.
        mask: bool [H, W] of the image, or None.
    """

    action: Action
    object_id: int = 0
    stamp_ns: int = 0
    name: str = ''
    points: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = field(default=None, compare=False)

    def prompt(self, object_id: int, stamped: bool = True) -> Prompt:
        """Return the tracker's prompt for this request.

        Args:
            object_id: the object, which may have been chosen after the request was made.
            stamped: whether to keep the stamp. Without it, the prompt belongs to the image it is
                passed to the tracker with.

        Raises:
            PromptError: a coordinate is not finite, corners are swapped, or nothing is marked.
        """
        replace = self.action is Action.REPLACE
        stamp = self.stamp_ns / 1e9 if stamped and self.stamp_ns else None
        if self.mask is not None:
            return Prompt.mask(object_id, self.mask, replace, stamp)
        if self.box is not None:
            return Prompt.box(object_id, self.box, self.points, self.point_labels, replace, stamp)
        return Prompt.points(object_id, self.points, self.point_labels, replace, stamp)
