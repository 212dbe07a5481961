# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results in standard messages of vision_msgs, if it is installed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile

from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.outputs.output import Output, TrackedImage
from tam_ros.spatial import Location
from tam_ros.tracking import TrackedObject

try:
    from vision_msgs import msg as vision
except ImportError:  # optional: our own messages contain all of it
    vision = None

LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_BACKGROUND = 'background'
_THRESHOLD = 0.5  # the score from which a pixel belongs to an object
_ANY_ANGLE = math.pi**2 / 3  # square radians; the variance of an angle that can be any


class Detections2D(Output):
    """The visible objects as vision_msgs/Detection2DArray."""

    topic = '~/detections_2d'
    message_type = vision.Detection2DArray if vision else None
    package = 'vision_msgs'

    def message(self, result: TrackedImage) -> vision.Detection2DArray:
        """Return the visible objects, each with the box of its mask.

        `id` is the object's id, `class_id` its name or empty, `score` the confidence that it is
        visible.
        """
        message = vision.Detection2DArray(header=result.header)
        for item in result.frame.objects:
            if item.box is None:
                continue
            x0, y0, x1, y1 = map(float, item.box)
            detection = vision.Detection2D(header=result.header, id=str(item.id))
            # The centre of the first pixel is (0, 0), and x1 and y1 are exclusive.
            detection.bbox.center.position.x = (x0 + x1 - 1) / 2
            detection.bbox.center.position.y = (y0 + y1 - 1) / 2
            detection.bbox.size_x, detection.bbox.size_y = x1 - x0, y1 - y0
            detection.results.append(_hypothesis(item, result.names))
            message.detections.append(detection)
        return message


class Detections3D(Output):
    """The visible objects whose position is known as vision_msgs/Detection3DArray."""

    topic = '~/detections_3d'
    message_type = vision.Detection3DArray if vision else None
    package = 'vision_msgs'

    def message(self, result: TrackedImage) -> vision.Detection3DArray | None:
        """Return the objects with a position, or None without depth.

        In the frame of the images. `id`, `class_id` and `score` are as in `Detections2D`. `bbox`
        is the box around the measured points, parallel to the axes of the camera. The pose of the
        result is that of a reference point of the object, as vision_msgs defines it: the median of
        the points.
        """
        if result.depth is None:
            return None
        message = vision.Detection3DArray(header=result.header)
        for item in result.frame.objects:
            location = result.locations.get(item.id)
            if location is None:
                continue
            detection = vision.Detection3D(header=result.header, id=str(item.id))
            _set_xyz(detection.bbox.center.position, location.centre)
            _set_xyz(detection.bbox.size, location.extent)
            hypothesis = _hypothesis(item, result.names)
            _set_xyz(hypothesis.pose.pose.position, location.position)
            hypothesis.pose.covariance = _covariance(location)
            detection.results.append(hypothesis)
            message.detections.append(detection)
        return message


def _hypothesis(item: TrackedObject, names: Mapping[int, str]) -> vision.ObjectHypothesisWithPose:
    hypothesis = vision.ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = names.get(item.id, '')
    hypothesis.hypothesis.score = float(item.score)
    return hypothesis


def _covariance(location: Location) -> list[float]:
    """Return the covariance of a pose, row by row: x, y, z, rotation about x, y, z.

    The spread of the points is an upper bound for the position, since the median lies among them.
    The orientation is not measured; zeros would claim that it is known exactly.
    """
    covariance = np.diag([0.0, 0.0, 0.0, _ANY_ANGLE, _ANY_ANGLE, _ANY_ANGLE])
    covariance[:3, :3] = location.covariance
    return covariance.ravel().tolist()


def _set_xyz(target: Any, xyz: NDArray[np.float64]) -> None:
    target.x, target.y, target.z = map(float, xyz)


class LabelInfo(Output):
    """The meaning of the values of the label image, latched, published when it changes."""

    topic = '~/label_info'
    message_type = vision.LabelInfo if vision else None
    qos = LATCHED_QOS
    package = 'vision_msgs'

    def __init__(self, node: LifecycleNode, parameters: NodeParameters) -> None:
        """Create the publisher."""
        super().__init__(node, parameters)
        self._published: dict[int, str] = {}

    def message(self, result: TrackedImage) -> vision.LabelInfo | None:
        """Return the name of each value, or None if they are as in the previous message.

        0 is `background`; the name of an unnamed object is `object <id>`.
        """
        meanings = {0: _BACKGROUND} | {
            item.id: result.names.get(item.id) or f'object {item.id}'
            for item in sorted(result.frame.objects, key=lambda item: item.id)
        }
        if meanings == self._published:
            return None
        self._published = meanings
        classes = [
            vision.VisionClass(class_id=value, class_name=name) for value, name in meanings.items()
        ]
        return vision.LabelInfo(header=result.header, class_map=classes, threshold=_THRESHOLD)
