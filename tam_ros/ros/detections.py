# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""vision_msgs/Detection2DArray to detections, where vision_msgs is installed."""

from __future__ import annotations

import math
from typing import Any

from tam_ros.prompting.detections import Detection

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:  # not on every machine
    Detection2DArray = None


def read_detections(message: Any) -> list[Detection]:
    """Return the boxes of a message, each with its most probable class.

    Args:
        message: a Detection2DArray, or anything with its fields.

    Returns:
        In the order of the message; a turned box as the upright one around it, and one without a
        hypothesis with score 0. Not checked: see `Detection.usable`.
    """
    return [_read(entry) for entry in message.detections]


def _read(entry: Any) -> Detection:
    box = entry.bbox
    x, y, turn = box.center.position.x, box.center.position.y, box.center.theta
    cos, sin = (abs(f(turn)) if math.isfinite(turn) else math.nan for f in (math.cos, math.sin))
    half_x = (box.size_x * cos + box.size_y * sin) / 2
    half_y = (box.size_x * sin + box.size_y * cos) / 2
    best = max(
        (result.hypothesis for result in entry.results), key=lambda one: one.score, default=None
    )
    return Detection(
        (x - half_x, y - half_y, x + half_x, y + half_y),
        best.class_id if best is not None else '',
        best.score if best is not None else 0.0,
    )
