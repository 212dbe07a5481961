# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is received about one camera while somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from tam_ros.client.results import object_status
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.msg import TrackedObjectArray
from tam_ros.page.frame import Frame
from tam_ros.page.joiner import Joined, Joiner
from tam_ros.page.protocol import finite
from tam_ros.page.tracker_requests import TrackerRequests
from tam_ros.ros.conversions import stamp_ns
from tam_ros.ros.images.offers import Wanted
from tam_ros.ros.images.subscription import ImageSubscription
from tam_ros.ros.images.transports import IMAGES, Transport, transport_of

_RESULT_QOS = QoSProfile(depth=5)
_QUEUE = 5  # images that may wait for the executor: each may be one that is tracked
_TIMEOUT_S = 5.0


class CameraFeed:
    """The subscriptions to the images and the results of one tracking node.

    All methods run in the executor's thread, except those of `requests`.

    Attributes:
        name: full name of the tracking node.
        requests: calls the services of the node; from any thread.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        numbers: Iterator[int],
        show: Callable[[str, Frame], None],
        quality: int,
        max_side: int,
    ) -> None:
        """Subscribe to the results; the topic of the images is not known yet.

        Args:
            node: node to subscribe with.
            name: full name of the tracking node.
            numbers: numbers of frames, over all cameras.
            show: called with the name and each frame.
            quality: see `Frame`.
            max_side: see `Frame`.
        """
        self.name = name
        self._node, self._numbers, self._show = node, numbers, show
        self._quality, self._max_side = quality, max_side
        self._decoder = ImageDecoder(node.get_logger().debug)
        self._joiner: Joiner[Any, Image, TrackedObjectArray] = Joiner()
        self._images: ImageSubscription | None = None
        self._source: tuple[str, Transport] | None = None
        self.requests = TrackerRequests(name, node)
        self._results = [
            node.create_subscription(Image, f'{name}/labels', self._on_labels, _RESULT_QOS),
            node.create_subscription(
                TrackedObjectArray, f'{name}/objects', self._on_objects, _RESULT_QOS
            ),
        ]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._results:
            self._node.destroy_subscription(subscription)
        self._unsubscribe()
        self.requests.close()

    def images_on(self, topic: str) -> None:
        """Subscribe to the topic that the tracking node receives its images from.

        Args:
            topic: as its diagnostics give it; empty: it is not subscribed.
        """
        transport = self._transport(topic) if topic else None
        if transport is None or (topic, transport) == self._source:
            return  # nobody publishes: the last camera is expected back
        self._unsubscribe()
        self._source = topic, transport
        wanted = Wanted('image', topic, transport, IMAGES, '', 'auto', optional=True)
        self._images = ImageSubscription(
            self._node, wanted, self._on_image, _QUEUE, timeout_s=lambda: _TIMEOUT_S
        )

    def _unsubscribe(self) -> None:
        if self._images is not None:
            self._images.close()
            self._images = None

    def _transport(self, topic: str) -> Transport | None:
        """Return the transport on a topic that can be read; None: nobody publishes one."""
        for info in self._node.get_publishers_info_by_topic(topic):
            found = transport_of(topic, info.topic_type)
            if found in IMAGES.values():
                return found
        return None

    def _on_image(self, message: Any) -> None:
        size = len(message.data) if hasattr(message, 'format') else message.step * message.height
        self._put(self._joiner.add_image(stamp_ns(message.header), message, size))

    def _on_labels(self, message: Image) -> None:
        self._put(self._joiner.add_labels(stamp_ns(message.header), message))

    def _on_objects(self, message: TrackedObjectArray) -> None:
        self._put(self._joiner.add_objects(stamp_ns(message.header), message))

    def _put(self, joined: Joined[Any, Image, TrackedObjectArray] | None) -> None:
        if joined is None:
            return
        frame = Frame(
            next(self._numbers),
            self.name,
            joined.stamp_ns,
            joined.image,
            joined.labels,
            [] if joined.objects is None else objects_for_page(joined.objects),
            self._decoder,
            self._quality,
            self._max_side,
        )
        self._show(self.name, frame)


def objects_for_page(message: TrackedObjectArray) -> list[dict[str, Any]]:
    """Return the objects of an image, ready for JSON: pixels, metres, seconds."""
    shown = []
    for entry in message.objects:
        item = object_status(entry, message)
        position = None if item.position is None else [finite(value) for value in item.position]
        shown.append(
            {
                'id': item.id,
                'name': item.name,
                'state': item.state,
                'score': finite(item.score),
                'age': finite(item.age_seconds),
                'box': item.box,
                'centroid': item.centroid,
                'position': position,
            }
        )
    return shown
