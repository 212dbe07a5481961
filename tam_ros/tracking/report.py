"""What a frame says of an object."""

from __future__ import annotations

import numpy as np

from tam_ros.runtime.base import Floats
from tam_ros.tracking import masks
from tam_ros.tracking.decoding import Decision
from tam_ros.tracking.objects import ObjectMemory, ObjectState, TrackedObject
from tam_ros.tracking.stages import Moment


def describe(memory: ObjectMemory, decision: Decision, full: Floats, moment: Moment,
             lost_after: float) -> TrackedObject:
    """Put together what is known of an object on a frame.

    Args:
        memory: of the object, the frame included.
        decision: of the model on the frame.
        full: its logits at image size [H, W].
        moment: of the frame.
        lost_after: see ``TrackerOptions``.
    """
    mask = full > 0
    area = int(np.count_nonzero(mask))
    state = ObjectState.VISIBLE
    if not (decision.present and area):
        lost = moment.seconds - memory.seen_at > lost_after
        state = ObjectState.LOST if lost else ObjectState.OCCLUDED
    return TrackedObject(
        id=memory.id, state=state, score=float(1 / (1 + np.exp(-decision.score))),
        score_logit=float(decision.score), mask=mask, logits=decision.logits,
        box=masks.bounding_box(mask), centroid=masks.centroid(mask), area=area,
        age_frames=moment.index - memory.born_index,
        age_seconds=moment.seconds - memory.born_at)
