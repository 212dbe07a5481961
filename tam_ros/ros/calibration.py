# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The calibration of the camera, from its `camera_info` topic."""

from __future__ import annotations

import re

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from tam_ros.spatial import Camera, CameraError

RECTIFIED = ('auto', 'raw', 'rectified')
_RECTIFIED_TOPIC = re.compile(r'(^|[/_])rect(ified)?([/_]|$)')


def is_rectified(choice: str, image_topic: str) -> bool:
    """Return whether images are undistorted already.

    Args:
        choice: one of `RECTIFIED`; with auto the topic says it, as those of image_proc do:
            `image_rect`, `image_rect_color`, `color/rect/image`.
        image_topic: resolved name of the topic.
    """
    if choice == 'auto':
        return _RECTIFIED_TOPIC.search(image_topic) is not None
    return choice == 'rectified'


class Calibration:
    """Keeps the newest camera info and makes a `Camera` of it when one is asked for.

    Written by the executor's thread, asked by any.
    """

    def __init__(self, node: Node) -> None:
        """Listen to `camera_info`."""
        self._node = node
        self._info: CameraInfo | None = None
        self._made: tuple[CameraInfo, bool, Camera] | None = None
        self._topic = node.resolve_topic_name('camera_info')
        node.create_subscription(CameraInfo, 'camera_info', self._keep, qos_profile_sensor_data)

    @property
    def known(self) -> bool:
        """Whether a camera info has arrived."""
        return self._info is not None

    def camera(self, height: int, width: int) -> Camera:
        """Return the camera that made images of this size.

        Raises:
            CameraError: nothing has arrived, it cannot be used, or it is for another image size.
        """
        info = self._info
        if info is None:
            raise CameraError(f'no camera info has arrived on {self._topic}')
        rectified = is_rectified(
            self._node.get_parameter('rectified').value, self._node.resolve_topic_name('image')
        )
        made = self._made
        if made is None or made[0] is not info or made[1] != rectified:
            made = self._made = (info, rectified, Camera.from_info(info, rectified))
        camera = made[2]
        if (camera.height, camera.width) != (height, width):
            raise CameraError(
                f'{self._topic} describes images of {camera.width}x{camera.height}, but those '
                f'that are tracked have {width}x{height}'
            )
        return camera

    def _keep(self, message: CameraInfo) -> None:
        old = self._info
        if old is not None:
            # Drivers send one with every image. What was made of the first still holds.
            message.header = old.header
            if message == old:
                return
        self._info = message
