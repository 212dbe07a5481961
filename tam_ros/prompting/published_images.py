# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The recently published images, and where each one showed its objects.

Prompts are made on published images, so clicks and detections are compared with the objects shown
on the image they were made on, not with those of the newest image.
"""

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
"""Maximum number of images kept."""

MASK_SIDE = 64
"""Maximum rows and columns of a stored mask, which limits the memory of `MAX_KEPT` images."""


@dataclass(frozen=True, eq=False)
class ShownObject:
    """One object as it was shown on one image.

    Attributes:
        state: whether it was visible.
        box: box of its mask, or of its last mask if it is not visible. None: it never had a mask.
        mask: bool [R, C], R and C at most `MASK_SIDE`: its mask inside the box, sampled at evenly
            spaced pixels. None if it is not visible.
    """

    state: ObjectState
    box: Box | None
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class PublishedImage:
    """One published image.

    Attributes:
        stamp_ns: stamp of the image, nanoseconds.
        frame_id: coordinate frame of the image: the optical frame of its camera.
        size: (height, width) of the image, pixels.
        objects: shown on it, by id.
    """

    stamp_ns: int
    frame_id: str
    size: tuple[int, int]
    objects: Mapping[int, ShownObject]


class PublishedImages:
    """The images published in the last seconds, and the full result of the newest one."""

    def __init__(self) -> None:
        self._images: deque[PublishedImage] = deque(maxlen=MAX_KEPT)
        self._newest: FrameResult | None = None

    @property
    def newest(self) -> PublishedImage:
        """The newest published image.

        Raises:
            PromptError: there is none.
        """
        if not self._images:
            raise PromptError('no image has been tracked yet: prompt again once images arrive')
        return self._images[-1]

    def __len__(self) -> int:
        """Return how many images are kept."""
        return len(self._images)

    def id_at(self, x: float, y: float) -> int:
        """Return the object that the newest label image shows at a pixel; 0: none."""
        return int(_pixel(self._newest.labels, x, y)) if self._newest is not None else 0

    def shows(self, object_id: int, x: float, y: float) -> bool:
        """Return whether an object's mask covers a pixel of the newest image.

        Masks may overlap: the label image may show another object there.
        """
        if self._newest is None or not (np.isfinite(x) and np.isfinite(y)):
            return False
        return any(
            item.id == object_id and item.covers(round(x), round(y))
            for item in self._newest.objects
        )

    def add(self, result: FrameResult, stamp_ns: int, frame_id: str, keep_s: float) -> None:
        """Add a published image.

        Args:
            result: result of the tracker on the image.
            stamp_ns: stamp of the image, nanoseconds. If it is not later than that of the previous
                image, the clock was restarted and the previous images are dropped.
            frame_id: coordinate frame of the image.
            keep_s: how long images are kept, seconds.
        """
        if self._images and stamp_ns <= self._images[-1].stamp_ns:
            self._images.clear()
        before = self._images[-1].objects if self._images else {}
        objects = {item.id: _shown(item, before.get(item.id)) for item in result.objects}
        height, width = result.labels.shape
        self._images.append(PublishedImage(stamp_ns, frame_id, (height, width), objects))
        self._newest = result
        while stamp_ns - self._images[0].stamp_ns > keep_s * 1e9:
            self._images.popleft()

    def at(self, stamp_ns: int) -> PublishedImage:
        """Return the image nearest to a stamp in nanoseconds; for 0 the newest one.

        Raises:
            PromptError: there is none.
        """
        if stamp_ns == 0:
            return self.newest
        nearest = min(self._images, key=lambda image: abs(image.stamp_ns - stamp_ns), default=None)
        return nearest or self.newest

    def clear(self) -> None:
        """Drop all images."""
        self._images.clear()
        self._newest = None


def _pixel(image: NDArray[Any], x: float, y: float) -> Any:
    """Return a pixel of an image [H, W]; 0 outside of it."""
    if not (np.isfinite(x) and np.isfinite(y)):
        return 0
    row, column = round(y), round(x)
    height, width = image.shape
    return image[row, column] if 0 <= row < height and 0 <= column < width else 0


def _shown(item: TrackedObject, before: ShownObject | None) -> ShownObject:
    if item.box is None:
        return ShownObject(item.state, before.box if before else None, None)
    x0, y0, x1, y1 = map(int, item.box)
    row_step, column_step = (math.ceil(side / MASK_SIDE) for side in (y1 - y0, x1 - x0))
    mask = item.crop[::row_step, ::column_step].copy()  # a view would keep the whole mask
    return ShownObject(item.state, (x0, y0, x1, y1), mask)
