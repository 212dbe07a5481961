# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The calibration of the camera, from its `camera_info` topic."""

from __future__ import annotations

import re

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.incoming_texts import cut_texts
from tam_ros.spatial import Camera, CameraError

PERIOD_S = 0.5
"""Seconds between two looks at the publishers."""

_LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Of drivers that publish the calibration once, maybe before the node starts."""

_RECTIFIED_TOPIC = re.compile(r'(^|[/_])rect(ified)?([/_]|$)')


def is_rectified(choice: str, image_topic: str) -> bool:
    """Return whether images are rectified.

    Args:
        choice: the parameter `rectified`. With auto, the name of the topic decides, which
            image_proc makes `image_rect`, `image_rect_color` or `color/rect/image`.
        image_topic: resolved name of the topic.
    """
    if choice == 'auto':
        return _RECTIFIED_TOPIC.search(image_topic) is not None
    return choice == 'rectified'


class Calibration:
    """The camera that the newest `camera_info` describes.

    The executor's thread receives the messages; any thread may call `camera`.
    """

    def __init__(self, node: Node, parameters: NodeParameters) -> None:
        """Subscribe to `camera_info`.

        Args:
            node: node to subscribe with.
            parameters: parameters of the node; `rectified` applies.
        """
        self._node = node
        self._parameters = parameters
        self._info: CameraInfo | None = None
        self._cached: tuple[CameraInfo, bool, Camera] | None = None
        self._topic = node.resolve_topic_name('camera_info')
        node.create_subscription(CameraInfo, 'camera_info', self._keep, qos_profile_sensor_data)
        self._latched: Subscription | None = None
        # Not on the node's clock, which may be that of a recording that is paused.
        node.create_timer(PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def known(self) -> bool:
        """Whether a camera info has arrived."""
        return self._info is not None

    def camera(self, height: int, width: int) -> Camera:
        """Return the camera of images of this size.

        Raises:
            CameraError: no camera info has arrived, it cannot be used, or it describes images of
                another size.
        """
        info = self._info
        if info is None:
            raise CameraError(f'no camera info has arrived on {self._topic}')
        rectified = is_rectified(
            self._parameters.current.rectified, self._node.resolve_topic_name('image')
        )
        made = self._cached
        if made is None or made[0] is not info or made[1] != rectified:
            made = self._cached = (info, rectified, Camera.from_info(info, rectified))
        camera = made[2]
        if (camera.height, camera.width) != (height, width):
            raise CameraError(
                f'{self._topic} describes images of {camera.width}x{camera.height}, but the '
                f'tracked images are {width}x{height}'
            )
        return camera

    def _look(self) -> None:
        """Ask for what was published before, if there is a publisher that keeps it.

        The other subscription hears every publisher, but only from now on. This one would not hear
        publishers that keep nothing, and they and this node would log a warning about it.
        """
        node = self._node
        try:
            publishers = node.get_publishers_info_by_topic(self._topic)
            keeping = any(
                one.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
                for one in publishers
            )
            if keeping and self._latched is None:
                self._latched = node.create_subscription(
                    CameraInfo, 'camera_info', self._keep, _LATCHED
                )
            elif publishers and not keeping and self._latched is not None:
                node.destroy_subscription(self._latched)
                self._latched = None
        except Exception as error:
            if node.context.ok():  # not shut down in the meantime
                node.get_logger().error(
                    f'cannot look at the graph: {error}', throttle_duration_sec=60.0
                )

    def _keep(self, message: CameraInfo) -> None:
        cut_texts(message)
        old = self._info
        if old is not None:
            # Drivers send one with every image: keep the camera if only the header changed.
            message.header = old.header
            if message == old:
                return
        self._info = message
