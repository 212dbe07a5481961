# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a detector found in one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects that a detector found in one image.

    Attributes:
        boxes: float32 [N, 4], x0, y0, x1, y1 in pixels of the image; x0 <= x1 and y0 <= y1.
        scores: float32 [N], confidence.
        class_ids: int64 [N], positions in `class_names`.
        class_names: the classes that the detector knows; an empty name is that of a detector
            that does not name what it finds.
        masks: bool [N, H, W] of the image's height and width; None: the detector makes none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    class_names: tuple[str, ...]
    masks: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Convert to the types above and check.

        Raises:
            ValueError: shapes that do not fit each other, numbers that are not finite, a box
                whose corners are swapped, or a class that has no name; the message says which.
        """
        boxes = checked_boxes(self.boxes, 'boxes')
        scores = checked_scores(self.scores, len(boxes))
        ids = np.asarray(self.class_ids)
        if ids.shape != scores.shape or (ids.size and ids.dtype.kind not in 'iu'):
            raise ValueError(
                f'class_ids are {ids.dtype} {list(ids.shape)}, not integers [{len(boxes)}]'
            )
        names = tuple(self.class_names)
        if ids.size and not 0 <= ids.min() <= ids.max() < len(names):
            raise ValueError(
                f'class_ids reach from {ids.min()} to {ids.max()}, but class_names has '
                f'{len(names)} names'
            )
        masks = self.masks
        if masks is not None:
            masks = np.asarray(masks)
            if masks.dtype != np.bool_ or masks.ndim != 3 or len(masks) != len(boxes):
                raise ValueError(
                    f'masks are {masks.dtype} {list(masks.shape)}, not bool [{len(boxes)}, H, W]'
                )
        values = (boxes.astype(np.float32), scores, ids.astype(np.int64), names, masks)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def none(
        cls, class_names: tuple[str, ...] = (), size: tuple[int, int] | None = None
    ) -> Detections:
        """Return no detections.

        Args:
            class_names: see the attribute.
            size: height and width of the image, for a detector that makes masks.
        """
        masks = None if size is None else np.zeros((0, *size), np.bool_)
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            class_names,
            masks,
        )

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.boxes)

    @property
    def labels(self) -> list[str]:
        """The class name of each detection."""
        return [self.class_names[index] for index in self.class_ids.tolist()]

    def select(self, index: NDArray[Any]) -> Detections:
        """Return some of the detections.

        Args:
            index: a numpy index of the first dimension: numbers [M] or flags [N].
        """
        return Detections(
            self.boxes[index],
            self.scores[index],
            self.class_ids[index],
            self.class_names,
            None if self.masks is None else self.masks[index],
        )

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield the classes that were found and how many of each, the most frequent first."""
        ids, counts = np.unique(self.class_ids, return_counts=True)
        for position in np.argsort(-counts, kind='stable'):
            yield self.class_names[int(ids[position])], int(counts[position])


def checked_boxes(boxes: Any, name: str) -> NDArray[np.float64]:
    """Return boxes as float64 [N, 4].

    Raises:
        ValueError: another shape, numbers that are not finite, or swapped corners.
    """
    array = np.asarray(boxes, np.float64)
    if array.size == 0 and array.shape in ((0,), (0, 4)):
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f'{name} have the shape {list(array.shape)}, not [N, 4]')
    wrong = ~np.isfinite(array).all(1)
    if wrong.any():
        number = int(wrong.argmax())
        raise ValueError(f'{name}[{number}] is {array[number].tolist()}: not finite')
    wrong = (array[:, 0] > array[:, 2]) | (array[:, 1] > array[:, 3])
    if wrong.any():
        number = int(wrong.argmax())
        raise ValueError(
            f'{name}[{number}] is {array[number].tolist()}: the corners are swapped; a box is '
            'x0, y0, x1, y1 with x0 <= x1 and y0 <= y1'
        )
    return array


def checked_scores(scores: Any, count: int, name: str = 'scores') -> NDArray[np.float32]:
    """Return scores as float32 [N].

    Raises:
        ValueError: there are more or fewer than `count`, or some are not finite.
    """
    array = np.asarray(scores, np.float32)
    if array.shape != (count,):
        raise ValueError(f'{name} have the shape {list(array.shape)}, not [{count}]')
    if not np.isfinite(array).all():
        number = int((~np.isfinite(array)).argmax())
        raise ValueError(f'{name}[{number}] is {array[number]}: not finite')
    return array
