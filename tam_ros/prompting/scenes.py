# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What was shown of the recent images: prompts are made on what somebody saw."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.tracking import FrameResult, ObjectState, PromptError, TrackedObject

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

MAX_KEPT = 60

MASK_SIDE = 64
"""Rows and columns of a remembered mask at most: 60 images of large objects must stay small."""


@dataclass(frozen=True, eq=False)
class Sight:
    """How one object was shown on one image.

    Attributes:
        state: whether it was seen.
        box: of its mask; of the last mask it had, if it is not seen now. None: it had none yet.
        mask: bool [R, C] of `MASK_SIDE` at most, its mask at evenly spread pixels of the box; None
            if it is not seen now.
    """

    state: ObjectState
    box: Box | None
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Scene:
    """One published image.

    Attributes:
        stamp_ns: of the image, nanoseconds.
        frame_id: of the image: the optical frame of its camera.
        size: (height, width) of the image, pixels.
        sights: of the objects, by id.
    """

    stamp_ns: int
    frame_id: str
    size: tuple[int, int]
    sights: Mapping[int, Sight]


class Scenes:
    """The published images of the last seconds, and all of the newest."""

    def __init__(self) -> None:
        self._scenes: deque[Scene] = deque(maxlen=MAX_KEPT)
        self._frame: FrameResult | None = None

    @property
    def newest(self) -> Scene:
        """The image whose results whoever prompts could see last.

        Raises:
            PromptError: there is none.
        """
        if not self._scenes:
            raise PromptError('no image has been tracked yet: prompt again once images arrive')
        return self._scenes[-1]

    def __len__(self) -> int:
        """Return how many images are kept."""
        return len(self._scenes)

    def id_at(self, x: float, y: float) -> int:
        """Return the object that the newest label image shows at a pixel; 0: none."""
        return int(_pixel(self._frame.labels, x, y)) if self._frame is not None else 0

    def shows(self, object_id: int, x: float, y: float) -> bool:
        """Return whether a pixel of the newest image is the object's, under others or not."""
        objects = self._frame.objects if self._frame is not None else ()
        return any(item.id == object_id and _pixel(item.mask, x, y) for item in objects)

    def add(self, frame: FrameResult, stamp_ns: int, frame_id: str, keep_s: float) -> None:
        """Take over what was published of an image.

        Args:
            frame: what the tracker said of it.
            stamp_ns: of the image, nanoseconds. If it is not later than the one before, time has
                started again and the images before are forgotten.
            frame_id: of the image.
            keep_s: how long images are kept, seconds.
        """
        if self._scenes and stamp_ns <= self._scenes[-1].stamp_ns:
            self._scenes.clear()
        before = self._scenes[-1].sights if self._scenes else {}
        sights = {item.id: _sight(item, before.get(item.id)) for item in frame.objects}
        self._scenes.append(Scene(stamp_ns, frame_id, frame.labels.shape, sights))
        self._frame = frame
        while stamp_ns - self._scenes[0].stamp_ns > keep_s * 1e9:
            self._scenes.popleft()

    def at(self, stamp_ns: int) -> Scene:
        """Return the image nearest to a stamp in nanoseconds; for 0 the newest.

        Raises:
            PromptError: there is none.
        """
        if stamp_ns == 0:
            return self.newest
        nearest = min(self._scenes, key=lambda scene: abs(scene.stamp_ns - stamp_ns), default=None)
        return nearest or self.newest

    def clear(self) -> None:
        """Forget everything."""
        self._scenes.clear()
        self._frame = None


def _pixel(image: NDArray[Any], x: float, y: float) -> Any:
    """Return a pixel of an image [H, W], or 0 beside it."""
    if not (np.isfinite(x) and np.isfinite(y)):
        return 0
    row, column = round(y), round(x)
    height, width = image.shape
    return image[row, column] if 0 <= row < height and 0 <= column < width else 0


def _sight(item: TrackedObject, before: Sight | None) -> Sight:
    if item.box is None:
        return Sight(item.state, before.box if before else None, None)
    x0, y0, x1, y1 = map(int, item.box)
    row_step, column_step = (math.ceil(side / MASK_SIDE) for side in (y1 - y0, x1 - x0))
    # A copy: a view would keep the mask of the whole image alive.
    mask = item.mask[y0:y1:row_step, x0:x1:column_step].copy()
    return Sight(item.state, (x0, y0, x1, y1), mask)
