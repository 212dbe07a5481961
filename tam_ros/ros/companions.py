# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results as vision_msgs has them, where that package is installed."""

from __future__ import annotations

from tam_ros.ros.result import Result

try:
    from vision_msgs import msg as vision
except ImportError:  # not on every machine; everything is in our own messages, too
    vision = None

BACKGROUND = 'background'

_PRESENT = 0.5  # the score from which on an object counts as seen, and a pixel as its


def detections_message(result: Result) -> vision.Detection2DArray:
    """Return the objects that are seen in an image, as vision_msgs/Detection2DArray.

    `id` is the object's id, `class_id` the name it was given, or empty; `score` says how sure the
    tracker is that it sees the object. The box is that around the mask.
    """
    message = vision.Detection2DArray(header=result.header)
    for item in result.frame.objects:
        if item.box is None:
            continue
        x0, y0, x1, y1 = map(float, item.box)
        detection = vision.Detection2D(header=result.header, id=str(item.id))
        # Pixel (0, 0) is the centre of the first one, and x1 and y1 are outside.
        detection.bbox.center.position.x = (x0 + x1 - 1) / 2
        detection.bbox.center.position.y = (y0 + y1 - 1) / 2
        detection.bbox.size_x, detection.bbox.size_y = x1 - x0, y1 - y0
        hypothesis = vision.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = result.names.get(item.id, '')
        hypothesis.hypothesis.score = float(item.score)
        detection.results.append(hypothesis)
        message.detections.append(detection)
    return message


class LabelInfo:
    """What the values of the label image mean; said again whenever that changes."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}

    def message(self, result: Result) -> vision.LabelInfo | None:
        """Return a vision_msgs/LabelInfo, or None where the last one still holds.

        0 is the background; an object without a name is called after its id.
        """
        meanings = {0: BACKGROUND} | {
            item.id: result.names.get(item.id) or f'object {item.id}'
            for item in sorted(result.frame.objects, key=lambda item: item.id)
        }
        if meanings == self._said:
            return None
        self._said = meanings
        classes = [
            vision.VisionClass(class_id=value, class_name=name) for value, name in meanings.items()
        ]
        return vision.LabelInfo(header=result.header, class_map=classes, threshold=_PRESENT)
