# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts made from the truth: what a careful user would say of an object."""

from __future__ import annotations

import cv2
import numpy as np

from tam_ros.tracking import Prompt

KINDS = ('mask', 'box', 'click')


def prompt_from_truth(kind: str, object_id: int, mask: np.ndarray) -> Prompt:
    """Return a prompt for one object.

    Args:
        kind: `mask`, the truth itself; `box`, the tightest one around it; `click`, one on
            the pixel that lies deepest inside, as in Kirillov et al., "Segment Anything", ICCV
            2023, section 7.1.
        object_id: for the tracker.
        mask: bool [H, W], not empty. The outside of the image is outside of the object.

    Raises:
        PromptError: the mask is empty.
        ValueError: no such kind.
    """
    if kind == 'mask' or not mask.any():
        return Prompt.mask(object_id, mask)
    if kind == 'box':
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        return Prompt.box(object_id, (x, y, x + width, y + height))
    if kind == 'click':
        depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        return Prompt.points(object_id, [(float(column - 1), float(row - 1))], labels=[1])
    raise ValueError(f'no kind of prompt {kind!r}; one of {", ".join(KINDS)}')
