# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The result of tracking one image: a label image, and the state of each object.

H and W are the sides of the image in pixels, M that of the masks that the network predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Floats
from tam_ros.tracking.frame_pipeline import FrameContext, StageClock
from tam_ros.tracking.mask_prediction import MaskPrediction
from tam_ros.tracking.objects import ObjectMemory


class ObjectState(str, Enum):
    """Whether an object is visible."""

    VISIBLE = 'visible'
    OCCLUDED = 'occluded'  # the model predicts that it is not in the image, or its mask is empty
    LOST = 'lost'  # occluded for longer than `TrackerOptions.lost_after`

    def __str__(self) -> str:
        """Return the value."""
        return self.value


@dataclass(frozen=True, eq=False)
class TrackedObject:
    """One object on one image.

    Attributes:
        id: 1..65535, not reused before the tracker is reset.
        state: see `ObjectState`.
        score: probability that the object is in the image, 0..1.
        score_logit: the same as a logit; positive if the object is in the image.
        image_size: (H, W).
        crop: bool [y1 - y0, x1 - x0], its mask in `box`; empty if that is None. Masks of different
            objects may overlap.
        logits: float32 [M, M], the mask as the network predicts it, before it is enlarged; -1024
            everywhere if the object is not in the image.
        box: (x0, y0, x1, y1) of the mask in pixels, x1 and y1 exclusive; None if it is empty.
        centroid: (x, y) of the mask in pixels; None if it is empty.
        area: area of the mask, pixels.
        age_frames: images since the one the object was first prompted on, 0 on that image, and
            negative on those before it.
        age_seconds: the same in seconds of the image stamps.
    """

    id: int
    state: ObjectState
    score: float
    score_logit: float
    image_size: tuple[int, int]
    crop: NDArray[np.bool_]
    logits: Floats
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    area: int
    age_frames: int
    age_seconds: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask in the whole image, bool [H, W]; made anew each time."""
        mask = np.zeros(self.image_size, bool)
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            mask[y0:y1, x0:x1] = self.crop
        return mask

    def covers(self, x: int, y: int) -> bool:
        """Return whether a pixel belongs to the mask; one outside the image does not."""
        if self.box is None:
            return False
        x0, y0, x1, y1 = self.box
        return x0 <= x < x1 and y0 <= y < y1 and bool(self.crop[y - y0, x - x0])


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The result of one step of a tracker.

    Attributes:
        stamp: stamp of the image, seconds.
        index: index of the image since the start or the last reset, from 0.
        labels: uint16 [H, W]: 0 is background, other values are object ids. Where masks overlap,
            the object with the larger logit is shown.
        objects: all live objects, in the order of their ids.
        stage_seconds: time of each stage of this step, seconds.
        removed: ids of the objects that were removed after this image, since they had been
            occluded for longer than `TrackerOptions.remove_after`; `objects` still contains them.
    """

    stamp: float
    index: int
    labels: NDArray[np.uint16]
    objects: list[TrackedObject]
    stage_seconds: dict[str, float]
    removed: tuple[int, ...] = ()


def describe(
    objects: Mapping[int, ObjectMemory],
    predictions: Mapping[int, MaskPrediction],
    context: FrameContext,
    stamp: float,
    lost_after: float,
    clock: StageClock,
) -> FrameResult:
    """Build the result of an image.

    Args:
        objects: by id, updated with the image.
        predictions: predictions of the image, by object id.
        context: context of the image.
        stamp: stamp of the image, seconds.
        lost_after: see `TrackerOptions.lost_after`.
        clock: clock of the step; the time spent here is added as the stage `masks`.
    """
    with clock.stage('masks'):
        labels = LabelImage(*context.size)
        tracked = []
        for number in sorted(predictions):
            # One at a time: enlarged, the logits of an object are 33 MB on an image of 3840x2160.
            enlarged = enlarge(predictions[number].logits, *context.size)
            item = _describe_object(
                objects[number], predictions[number], enlarged, context, lost_after
            )
            labels.add(number, enlarged, item.box)
            tracked.append(item)
    return FrameResult(stamp, context.index, labels.labels, tracked, clock.seconds)


def merge(results: Sequence[FrameResult]) -> FrameResult:
    """Merge results of one image that have different objects."""
    first = results[0]
    objects = sorted(
        (item for result in results for item in result.objects), key=lambda item: item.id
    )
    height, width = first.labels.shape
    labels = LabelImage(height, width)
    for item in objects:
        labels.add(item.id, enlarge(item.logits, height, width), item.box)
    return replace(first, labels=labels.labels, objects=objects)


def enlarge(logits: Floats, height: int, width: int) -> Floats:
    """Resize predicted mask logits [M, M] to the image [height, width], bilinear."""
    enlarged = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, np.float32)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return (x0, y0, x1, y1) of a mask [H, W], x1 and y1 exclusive; None if it is empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (x, y, x + width, y + height) if width else None


def centroid(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean (x, y) of a mask [H, W] in pixels, at least one of which is set."""
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area = moments['m00']
    return moments['m10'] / area, moments['m01'] / area


class LabelImage:
    """Merges masks that may overlap: each pixel belongs to the object with the largest logit.

    Attributes:
        labels: uint16 [H, W]: the id of an object, or 0 where no logit is positive.
    """

    def __init__(self, height: int, width: int) -> None:
        """Begin with no object, on an image of this size in pixels."""
        self.labels = np.zeros((height, width), np.uint16)
        self._highest = np.zeros((height, width), np.float32)

    def add(self, number: int, logits: Floats, box: tuple[int, int, int, int] | None) -> None:
        """Add an object. Where logits are equal, the object that was added first is shown.

        Args:
            number: its id, 1..65535.
            logits: its logits [H, W], positive inside its mask.
            box: (x0, y0, x1, y1) of its mask; None: it is empty. Nothing else is looked at, nor
                does it need memory: the pages of an array of zeros are not there before.
        """
        if box is None:
            return
        x0, y0, x1, y1 = box
        inside = slice(y0, y1), slice(x0, x1)
        highest, found = self._highest[inside], logits[inside]
        wins = found > highest
        self.labels[inside][wins] = number
        np.copyto(highest, found, where=wins)


def _describe_object(
    memory: ObjectMemory,
    prediction: MaskPrediction,
    enlarged: Floats,
    context: FrameContext,
    lost_after: float,
) -> TrackedObject:
    mask = enlarged > 0
    box = bounding_box(mask)
    x0, y0, x1, y1 = box or (0, 0, 0, 0)
    crop = mask[y0:y1, x0:x1].copy()  # a view would keep the mask of the whole image
    area = int(np.count_nonzero(crop))
    centre = None
    if box is not None:
        x, y = centroid(crop)
        centre = x0 + x, y0 + y
    state = ObjectState.VISIBLE
    if not (prediction.present and area):
        lost = context.seconds - memory.seen_at > lost_after
        state = ObjectState.LOST if lost else ObjectState.OCCLUDED
    return TrackedObject(
        id=memory.id,
        state=state,
        score=float(1 / (1 + np.exp(-prediction.score))),
        score_logit=float(prediction.score),
        image_size=context.size,
        crop=crop,
        logits=prediction.logits,
        box=box,
        centroid=centre,
        area=area,
        age_frames=context.index - memory.born_index,
        age_seconds=context.seconds - memory.born_at,
    )
