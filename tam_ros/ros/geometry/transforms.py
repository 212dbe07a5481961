# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Transforms between frames, from TF, if tf2_ros is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from tam_ros.ros.conversions import NANOSECONDS

try:
    import tf2_ros
except ImportError:  # optional: points in the frame of the camera do not need it
    tf2_ros = None

TOLERANCE_S = 0.1
"""How far the newest transform may be from the requested time if that time is not buffered."""

_CACHE_S = 10.0
_CHECK_PERIOD_S = 1.0


class TransformError(RuntimeError):
    """A transform is not known; the message gives the reason."""


class Transforms:
    """Listens to TF while a topic that needs it has a publisher.

    A robot publishes hundreds of transforms per second, and rclpy takes time for each. RViz
    creates its publisher of clicked points when it starts, long before the first click.
    """

    def __init__(self, node: Node, topic: str) -> None:
        """Start to check for publishers.

        Args:
            node: node to subscribe with.
            topic: whose messages need transforms.
        """
        self._node = node
        self._topic = node.resolve_topic_name(topic)
        self._buffer = self._listener = None
        if tf2_ros is None:
            node.get_logger().info(
                f'tf2_ros is not installed: points on {self._topic} must be in the frame of the '
                f'images'
            )
        else:
            self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=_CACHE_S))
            node.create_timer(_CHECK_PERIOD_S, self._check_publishers)

    def look_up(
        self, target: str, source: str, stamp_ns: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return rotation [3, 3] and translation [3], metres, from one frame to another.

        Args:
            target: frame to transform points to.
            source: frame the points are in.
            stamp_ns: time of the transform, nanoseconds.

        Raises:
            TransformError: not known, or only at a time that is too far away.
        """
        if self._buffer is None:
            raise TransformError(
                f'a point in the frame {source!r} needs tf2_ros, which is not installed; send it '
                f'in {target!r}'
            )
        time = Time(nanoseconds=stamp_ns)
        try:
            found = self._buffer.lookup_transform(target, source, time)
        except tf2_ros.ExtrapolationException as error:
            found = self._newest(target, source, stamp_ns, error)
        except tf2_ros.TransformException as error:
            raise TransformError(f'no transform from {source!r} to {target!r}: {error}') from error
        shift = found.transform.translation
        return _matrix(found.transform.rotation), np.array([shift.x, shift.y, shift.z])

    def _newest(self, target: str, source: str, stamp_ns: int, reason: Exception) -> Any:
        """Return the newest transform if it is within `TOLERANCE_S` of the requested time."""
        assert self._buffer is not None
        found = self._buffer.lookup_transform(target, source, Time())
        stamp = found.header.stamp
        away = abs(stamp.sec * NANOSECONDS + stamp.nanosec - stamp_ns) / NANOSECONDS
        if away > TOLERANCE_S:
            raise TransformError(
                f'no transform from {source!r} to {target!r} at the time of the image, and the '
                f'newest is {away:.3f} s away: {reason}'
            ) from reason
        return found

    def _check_publishers(self) -> None:
        wanted = self._node.count_publishers(self._topic) > 0
        if wanted and self._listener is None:
            self._listener = tf2_ros.TransformListener(self._buffer, self._node)
        elif not wanted and self._listener is not None:
            self._listener.unregister()
            self._listener = None
            self._buffer.clear()


def _matrix(q: Quaternion) -> NDArray[np.float64]:
    """Return the rotation matrix of a quaternion, normalised or not."""
    x, y, z, w = np.array([q.x, q.y, q.z, q.w]) / np.linalg.norm([q.x, q.y, q.z, q.w])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
