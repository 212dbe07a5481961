# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""tam_ros/Prompt messages to requests."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tam_ros import msg
from tam_ros.io.encodings import ImageFormatError
from tam_ros.prompting.request import Action, PromptRequest
from tam_ros.ros.conversions import image_to_mask, stamp_ns
from tam_ros.tracking import PromptError


def read_prompt(message: msg.Prompt) -> PromptRequest:
    """Read a prompt message.

    Raises:
        PromptError: an unknown action; nothing to say what the object is, or too much; points and
            labels of different number; labels other than 0 and 1; a mask that cannot be read.
    """
    try:
        action = Action(message.action)
    except ValueError:
        known = ', '.join(f'{action.value} {action.name}' for action in Action)
        raise PromptError(f'unknown action {message.action}; known: {known}') from None
    request = {
        'action': action,
        'object_id': message.object_id,
        'stamp_ns': stamp_ns(message.header),
        'name': message.name,
    }
    if action is not Action.ADD and message.object_id == 0:
        raise PromptError(f'{action.name} needs an object_id; 0 only goes with ADD')
    if action is Action.REMOVE:
        return PromptRequest(**request)

    points = tuple((point.x, point.y) for point in message.points)
    labels = tuple(message.point_labels) or (1,) * len(points)
    # NaN must not pass for "no box"; the tracker's own prompt refuses it.
    box = tuple(float(edge) for edge in message.box)
    has_box = any(edge != 0 or math.isnan(edge) for edge in box)
    has_mask = message.mask.width > 0 or message.mask.height > 0
    if len(labels) != len(points):
        raise PromptError(
            f'{len(points)} points, but {len(labels)} point_labels: send one for each'
        )
    if wrong := set(labels) - {0, 1}:
        raise PromptError(f'point_labels are 1 (on the object) or 0 (off it), not {min(wrong)}')
    if has_mask and (points or has_box):
        raise PromptError('a mask stands alone: send the points or the box in another prompt')
    if not (points or has_box or has_mask):
        raise PromptError('the prompt is empty: send points, a box or a mask')
    return PromptRequest(
        **request,
        points=points,
        point_labels=labels,
        box=box if has_box else None,
        mask=_read_mask(message) if has_mask else None,
    )


def _read_mask(message: msg.Prompt) -> NDArray[np.bool_]:
    try:
        return image_to_mask(message.mask)
    except ImageFormatError as error:
        raise PromptError(str(error)) from error
