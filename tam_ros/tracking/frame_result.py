# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the tracker says of an image and of each object on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Floats
from tam_ros.tracking import masks
from tam_ros.tracking.decoding import Decision
from tam_ros.tracking.frame_pipeline import Moment, StageClock
from tam_ros.tracking.objects import ObjectMemory, ObjectState, TrackedObject


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What the tracker says of one image.

    Attributes:
        stamp: of the image, seconds.
        index: steps since the start or the last reset, from 0.
        labels: uint16 [H, W]; 0 is background, else an object id. Where masks overlap, the
            larger logit wins.
        objects: all live objects, in order of their ids.
        stage_seconds: time spent in each stage of the step.
        removed: ids that are shown here for the last time: occluded for longer than
            `TrackerOptions.remove_after`.
    """

    stamp: float
    index: int
    labels: NDArray[np.uint16]
    objects: list[TrackedObject]
    stage_seconds: dict[str, float]
    removed: tuple[int, ...] = ()


def describe(
    known: Mapping[int, ObjectMemory],
    decisions: dict[int, Decision],
    moment: Moment,
    stamp: float,
    lost_after: float,
    clock: StageClock,
) -> FrameResult:
    """Put together what is known of a frame.

    Args:
        known: the objects by id, the frame included in their memories.
        decisions: of the model on the frame.
        moment: of the frame.
        stamp: of the image, seconds.
        lost_after: see `TrackerOptions`.
        clock: of the stages, which goes on counting here.
    """
    with clock.stage('masks'):
        ids = sorted(decisions)
        full = [masks.enlarge(decisions[number].logits, *moment.size) for number in ids]
        objects = [
            _object(known[number], decisions[number], logits, moment, lost_after)
            for number, logits in zip(ids, full, strict=True)
        ]
        labels = masks.label_image(ids, full, *moment.size)
    return FrameResult(stamp, moment.index, labels, objects, clock.seconds)


def merge(frames: Sequence[FrameResult]) -> FrameResult:
    """Put together frames of one image that speak of different objects."""
    first = frames[0]
    objects = sorted(
        (item for frame in frames for item in frame.objects), key=lambda item: item.id
    )
    size = first.labels.shape
    labels = masks.label_image(
        [item.id for item in objects],
        [masks.enlarge(item.logits, *size) for item in objects],
        *size,
    )
    return replace(first, labels=labels, objects=objects)


def _object(
    memory: ObjectMemory, decision: Decision, full: Floats, moment: Moment, lost_after: float
) -> TrackedObject:
    mask = full > 0
    area = int(np.count_nonzero(mask))
    state = ObjectState.VISIBLE
    if not (decision.present and area):
        lost = moment.seconds - memory.seen_at > lost_after
        state = ObjectState.LOST if lost else ObjectState.OCCLUDED
    return TrackedObject(
        id=memory.id,
        state=state,
        score=float(1 / (1 + np.exp(-decision.score))),
        score_logit=float(decision.score),
        mask=mask,
        logits=decision.logits,
        box=masks.bounding_box(mask),
        centroid=masks.centroid(mask),
        area=area,
        age_frames=moment.index - memory.born_index,
        age_seconds=moment.seconds - memory.born_at,
    )
