# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results as the tracker returns them, with rectangles as objects."""

from __future__ import annotations

import numpy as np

from tam_ros.tracking import FrameResult, ObjectState, TrackedObject

SIZE = (60, 80)  # rows, columns
SECOND = 10**9


def tracked(number, box=None, state=None, size=SIZE):
    """An object whose mask is the box (x0, y0, x1, y1); without a box it is not visible."""
    mask = np.zeros(size, bool)
    crop = mask[:0, :0]
    if box is not None:
        x0, y0, x1, y1 = box
        mask[y0:y1, x0:x1] = True
        crop = mask[y0:y1, x0:x1].copy()
    state = state or (ObjectState.VISIBLE if box else ObjectState.OCCLUDED)
    return TrackedObject(
        id=number,
        state=state,
        score=0.9,
        score_logit=2.2,
        image_size=size,
        crop=crop,
        logits=mask.astype('f4'),
        box=box,
        centroid=None,
        area=int(mask.sum()),
        age_frames=0,
        age_seconds=0.0,
    )


def result_of(*objects):
    """A result with these objects; where they overlap, the later one is on top."""
    labels = np.zeros(objects[0].mask.shape if objects else SIZE, np.uint16)
    for item in objects:
        labels[item.mask] = item.id
    return FrameResult(0.0, 0, labels, list(objects), {})
