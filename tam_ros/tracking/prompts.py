# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a user says about an object: clicks, a box or a mask on one image."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_ID = 0xFFFF  # what a 16-bit label image can show
NEW_OBJECT = 0  # as object id: the tracker chooses one


class PromptError(ValueError):
    """A prompt that cannot be used; the message tells its sender why."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt for one object; made by `points`, `box` or `mask`.

    Coordinates are pixels of the image, x to the right and y down, (0, 0) the centre of the top
    left pixel.

    Attributes:
        object_id: 1..65535, or 0 for a new object whose id the tracker chooses.
        points_xy: float32 [P, 2]; the corners of a box come first.
        labels: int64 [P]: 0 not the object, 1 the object, 2 and 3 the corners of a box.
        mask_image: bool [H, W], or None.
        replace: forget what is known of the object and start again from this prompt.
        stamp: of the image the prompt was made on, seconds; None: the image it is handed in with.
    """

    object_id: int
    points_xy: NDArray[np.float32]
    labels: NDArray[np.int64]
    mask_image: NDArray[np.bool_] | None = None
    replace: bool = False
    stamp: float | None = None

    def __post_init__(self) -> None:
        """Refuse a stamp that is no number."""
        if self.stamp is not None and not np.isfinite(self.stamp):
            raise PromptError(f'the stamp {self.stamp} of the prompt is not finite')

    @classmethod
    def points(
        cls,
        object_id: int,
        points: ArrayLike,
        labels: Sequence[int],
        replace: bool = False,
        stamp: float | None = None,
    ) -> Prompt:
        """Make a prompt of clicks.

        Args:
            object_id: see the class.
            points: [P, 2], at least one.
            labels: [P], 1 on the object and 0 beside it.
            replace: see the class.
            stamp: see the class.

        Raises:
            PromptError: no points, another number of labels, a coordinate that is not finite.
        """
        xy, kinds = _clicks(points, labels)
        if not len(xy):
            raise PromptError('a prompt of points needs at least one point')
        return cls(_object_id(object_id), xy, kinds, replace=replace, stamp=stamp)

    @classmethod
    def box(
        cls,
        object_id: int,
        box: ArrayLike,
        points: ArrayLike | None = None,
        labels: Sequence[int] | None = None,
        replace: bool = False,
        stamp: float | None = None,
    ) -> Prompt:
        """Make a prompt of a box, with clicks or without.

        Args:
            object_id: see the class.
            box: (x0, y0, x1, y1), the top left and the bottom right corner.
            points: clicks in addition [P, 2].
            labels: of the clicks [P].
            replace: see the class.
            stamp: see the class.

        Raises:
            PromptError: corners swapped or equal, a coordinate that is not finite.
        """
        corners = _finite(box, 'box').ravel()
        if corners.shape != (4,):
            raise PromptError(f'a box is four numbers x0, y0, x1, y1, not {corners.size}')
        x0, y0, x1, y1 = corners
        if x1 <= x0 or y1 <= y0:
            raise PromptError(
                f'box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty or has its corners '
                'swapped; give the top left corner first'
            )
        xy, kinds = _clicks([] if points is None else points, labels or [])
        return cls(
            _object_id(object_id),
            np.concatenate((corners.reshape(2, 2), xy)),
            np.concatenate(([2, 3], kinds)),
            replace=replace,
            stamp=stamp,
        )

    @classmethod
    def mask(
        cls, object_id: int, mask: ArrayLike, replace: bool = False, stamp: float | None = None
    ) -> Prompt:
        """Make a prompt of a mask.

        Args:
            object_id: see the class.
            mask: [H, W] of the image's size; whatever is not zero belongs to the object.
            replace: see the class.
            stamp: see the class.

        Raises:
            PromptError: not two-dimensional, or empty.
        """
        image = np.asarray(mask) != 0
        if image.ndim != 2:
            raise PromptError(f'a mask is an array [height, width], not {image.shape}')
        if not image.any():
            raise PromptError('the mask is empty; mark at least one pixel')
        return cls(
            _object_id(object_id),
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.int64),
            image,
            replace,
            stamp,
        )

    @classmethod
    def together(cls, prompts: Sequence[Prompt]) -> Prompt:
        """Return prompts of one object on one image, at least one, as if given at once.

        A box or a mask begins anew, as in the official predictor.
        """
        start = max(
            (
                i
                for i, one in enumerate(prompts)
                if one.mask_image is not None or (one.labels >= 2).any()
            ),
            default=0,
        )
        last = prompts[start:]
        return cls(
            last[0].object_id,
            np.concatenate([one.points_xy for one in last]),
            np.concatenate([one.labels for one in last]),
            last[0].mask_image,
        )

    def check_image(self, height: int, width: int) -> None:
        """Raise PromptError where the prompt does not fit an image of this size."""
        if self.mask_image is not None and self.mask_image.shape != (height, width):
            rows, columns = self.mask_image.shape
            raise PromptError(f'the mask is {columns}x{rows} but the image {width}x{height}')
        clicks = self.points_xy[self.labels < 2]
        outside = ((clicks < 0) | (clicks > (width - 1, height - 1))).any(1)
        if outside.any():
            x, y = clicks[outside][0]
            raise PromptError(f'point ({x:g}, {y:g}) lies outside the image {width}x{height}')
        corners = self.points_xy[self.labels >= 2]
        if len(corners):
            (x0, y0), (x1, y1) = corners
            if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
                raise PromptError(
                    f'box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) lies outside the image {width}x{height}'
                )


def _object_id(object_id: int) -> int:
    try:
        number = operator.index(object_id)
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_ID:
        raise PromptError(f'object id {object_id} is not a whole number in 0..{MAX_ID}')
    return number


def _finite(values: ArrayLike, what: str) -> NDArray[np.float32]:
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise PromptError(f'{what} coordinates are not numbers: {error}') from error
    if not np.isfinite(array).all():
        raise PromptError(f'{what} coordinates are not finite')
    return array


def _clicks(
    points: ArrayLike, labels: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    xy = _finite(points, 'point')
    if xy.size == 0:
        xy = xy.reshape(0, 2)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise PromptError(f'points are an array [P, 2], not {xy.shape}')
    kinds = np.asarray(labels, np.int64).ravel()
    if len(kinds) != len(xy):
        raise PromptError(f'{len(xy)} points but {len(kinds)} labels')
    if not np.isin(kinds, (0, 1)).all():
        raise PromptError('labels of points are 1 (the object) or 0 (not the object)')
    return xy, kinds
