"""What the node publishes of every tracked image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from tam_ros.io.overlay import draw_overlay
from tam_ros.msg import TrackedObjectArray
from tam_ros.ros.conversions import array_to_image
from tam_ros.ros.messages import labels_message, objects_message
from tam_ros.tracking import Frame

# Results go to best-effort subscribers and to reliable ones.
RESULT_QOS = QoSProfile(depth=5)


class Outputs:
    """The publishers of a node; all messages of an image carry its header, unchanged."""

    def __init__(self, node: LifecycleNode) -> None:
        """Make the publishers; they are silent until the node is active."""
        self._node = node
        self._objects = node.create_lifecycle_publisher(
            TrackedObjectArray, '~/objects', RESULT_QOS
        )
        self._labels = node.create_lifecycle_publisher(Image, '~/labels', RESULT_QOS)
        self._overlay = node.create_lifecycle_publisher(Image, '~/overlay', RESULT_QOS)

    def publish(
        self, frame: Frame, names: Mapping[int, str], header: Header, image: NDArray[np.uint8]
    ) -> None:
        """Publish one tracked image.

        Args:
            frame: what `Tracker.step` returned.
            names: of the objects, by id.
            header: of the image; taken over as it is.
            image: uint8 RGB [H, W, 3].
        """
        with_masks = self._node.get_parameter('publish_masks').value
        self._objects.publish(objects_message(frame, header, names, with_masks))
        self._labels.publish(labels_message(frame.labels, header))
        if self._overlay.get_subscription_count():
            drawn = draw_overlay(image, frame.labels, frame.objects)
            self._overlay.publish(array_to_image(drawn, 'rgb8', header))
