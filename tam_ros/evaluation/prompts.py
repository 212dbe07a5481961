# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts made from ground truth, as a careful user would make them."""

from __future__ import annotations

import cv2
import numpy as np

from tam_ros.tracking import Prompt

KINDS = ('mask', 'box', 'click')


def prompt_from_truth(kind: str, object_id: int, mask: np.ndarray) -> Prompt:
    """Return a prompt for one object.

    Args:
        kind: `mask`, the true mask; `box`, its bounding box; `click`, a click on the pixel that
            is farthest from the background, as in Kirillov et al., "Segment Anything", ICCV 2023,
            section 7.1. Pixels outside the image count as background.
        object_id: object id of the prompt.
        mask: bool [H, W], not empty.

    Raises:
        PromptError: the mask is empty.
        ValueError: the kind is unknown.
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
