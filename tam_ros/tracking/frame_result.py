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
        mask: bool [H, W]; masks of different objects may overlap.
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
    mask: NDArray[np.bool_]
    logits: Floats
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    area: int
    age_frames: int
    age_seconds: float


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
        ids = sorted(predictions)
        full = [enlarge(predictions[number].logits, *context.size) for number in ids]
        tracked = [
            _describe_object(objects[number], predictions[number], logits, context, lost_after)
            for number, logits in zip(ids, full, strict=True)
        ]
        labels = label_image(ids, full, *context.size)
    return FrameResult(stamp, context.index, labels, tracked, clock.seconds)


def merge(results: Sequence[FrameResult]) -> FrameResult:
    """Merge results of one image that have different objects."""
    first = results[0]
    objects = sorted(
        (item for result in results for item in result.objects), key=lambda item: item.id
    )
    height, width = first.labels.shape
    labels = label_image(
        [item.id for item in objects],
        [enlarge(item.logits, height, width) for item in objects],
        height,
        width,
    )
    return replace(first, labels=labels, objects=objects)


def enlarge(logits: Floats, height: int, width: int) -> Floats:
    """Resize predicted mask logits [M, M] to the image [height, width], bilinear."""
    enlarged = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, np.float32)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return (x0, y0, x1, y1) of a mask [H, W], x1 and y1 exclusive; None if it is empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (x, y, x + width, y + height) if width else None


def centroid(mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the mean (x, y) of a mask [H, W] in pixels; None if it is empty."""
    box = bounding_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    # Inside the box only: the moments of a whole 1280x720 image take most of a millisecond.
    moments = cv2.moments(mask.view(np.uint8)[y0:y1, x0:x1], binaryImage=True)
    area = moments['m00']
    return x0 + moments['m10'] / area, y0 + moments['m01'] / area


def label_image(
    ids: Sequence[int], logits: Sequence[Floats], height: int, width: int
) -> NDArray[np.uint16]:
    """Merge masks that may overlap: each pixel belongs to the object with the largest logit.

    Args:
        ids: ids of the objects, 1..65535.
        logits: logits of each object [height, width]; positive inside its mask.
        height: height of the image, pixels.
        width: width of the image, pixels.

    Returns:
        uint16 [height, width], 0 where no logit is positive.
    """
    labels = np.zeros((height, width), np.uint16)
    if not ids:
        return labels
    if len(ids) == 1:
        labels[logits[0] > 0] = ids[0]
        return labels
    highest = np.zeros((height, width), np.float32)
    for number, logit in zip(ids, logits, strict=True):
        wins = logit > highest
        labels[wins] = number
        np.copyto(highest, logit, where=wins)
    return labels


def _describe_object(
    memory: ObjectMemory,
    prediction: MaskPrediction,
    enlarged: Floats,
    context: FrameContext,
    lost_after: float,
) -> TrackedObject:
    mask = enlarged > 0
    area = int(np.count_nonzero(mask))
    state = ObjectState.VISIBLE
    if not (prediction.present and area):
        lost = context.seconds - memory.seen_at > lost_after
        state = ObjectState.LOST if lost else ObjectState.OCCLUDED
    return TrackedObject(
        id=memory.id,
        state=state,
        score=float(1 / (1 + np.exp(-prediction.score))),
        score_logit=float(prediction.score),
        mask=mask,
        logits=prediction.logits,
        box=bounding_box(mask),
        centroid=centroid(mask),
        area=area,
        age_frames=context.index - memory.born_index,
        age_seconds=context.seconds - memory.born_at,
    )
