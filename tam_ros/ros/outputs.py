# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the node publishes of every tracked image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from tam_ros.drawing.overlay import draw_overlay
from tam_ros.msg import TrackedObjectArray
from tam_ros.ros import companions
from tam_ros.ros.calibration import Calibration
from tam_ros.ros.clouds import cloud_message
from tam_ros.ros.conversions import array_to_image
from tam_ros.ros.depth import DepthViews
from tam_ros.ros.markers import Markers, transforms
from tam_ros.ros.messages import compressed_labels_message, labels_message, objects_message
from tam_ros.ros.result import Result
from tam_ros.ros.statistics import Statistics
from tam_ros.tracking import FrameResult

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # not on every machine; positions are in ~/objects, too
    TFMessage = None

# Results go to best-effort subscribers and to reliable ones.
RESULT_QOS = QoSProfile(depth=5)
LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TF_QOS = QoSProfile(depth=100)


class _Output(NamedTuple):
    """A publisher and what makes its message; None: there is nothing to say this time."""

    name: str
    publisher: LifecyclePublisher
    make: Callable[[Result], Any]

    @property
    def wanted(self) -> bool:
        """Whether a message would reach anybody, now or, if it is latched, later."""
        latched = self.publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        return latched or self.publisher.get_subscription_count() > 0


class Outputs:
    """The publishers of a node; all messages of an image carry its header, unchanged.

    Nothing is computed for a topic that nobody listens to.
    """

    def __init__(
        self, node: LifecycleNode, calibration: Calibration, statistics: Statistics
    ) -> None:
        """Make the publishers; they are silent until the node is active.

        Args:
            node: its parameters are declared.
            calibration: of the camera.
            statistics: told how long each output takes, and of images without depth.
        """
        self._node = node
        self._statistics = statistics
        self._views = DepthViews(node, calibration, statistics)
        self._markers = Markers()
        self._frames = node.get_fully_qualified_name().lstrip('/') + '/object_'
        # In this order: whoever acts on the results comes first, whoever looks at them last.
        self._outputs = [
            self._output('labels', Image, lambda r: labels_message(r.pixels, r.header)),
        ]
        if companions.vision is not None:
            kinds = companions.vision.Detection2DArray, companions.vision.LabelInfo
            self._outputs += [
                self._output('detections_2d', kinds[0], companions.detections_message),
                self._output('label_info', kinds[1], companions.LabelInfo().message, LATCHED_QOS),
            ]
        # From here on the depth of the image is needed, which may be still to come.
        self._outputs.append(self._output('objects', TrackedObjectArray, self._objects_message))
        if TFMessage is not None:
            self._outputs.append(self._output('/tf', TFMessage, self._tf_message, TF_QOS))
        self._outputs += [
            self._output('cloud', PointCloud2, self._cloud_message),
            self._output('markers', MarkerArray, self._markers_message),
            self._output('overlay', Image, self._overlay_message),
            self._output(
                'labels/compressed',
                CompressedImage,
                lambda r: compressed_labels_message(r.pixels, r.header),
            ),
        ]
        self._say_what_is_missing()

    def publish(
        self,
        frame: FrameResult,
        names: Mapping[int, str],
        header: Header,
        image: NDArray[np.uint8],
    ) -> None:
        """Publish one tracked image.

        Args:
            frame: what `Tracker.step` returned.
            names: of the objects, by id.
            header: of the image; taken over as it is.
            image: uint8 RGB [H, W, 3].
        """
        result = Result(
            frame, names, header, image, lambda: self._views.of(header, *frame.labels.shape)
        )
        for output in self._outputs:
            if not output.wanted:
                continue
            with self._statistics.stage(output.name):
                message = output.make(result)
                if message is not None:
                    output.publisher.publish(message)

    def _output(
        self,
        name: str,
        kind: type,
        make: Callable[[Result], Any],
        qos: QoSProfile = RESULT_QOS,
    ) -> _Output:
        topic = name if name.startswith('/') else f'~/{name}'
        return _Output(name, self._node.create_lifecycle_publisher(kind, topic, qos), make)

    def _objects_message(self, result: Result) -> TrackedObjectArray:
        with_masks = self._value('publish_masks')
        return objects_message(
            result.frame, result.header, result.names, with_masks, result.places
        )

    def _overlay_message(self, result: Result) -> Image:
        frame = result.frame
        drawn = draw_overlay(result.image, frame.labels, frame.objects, result.names)
        return array_to_image(drawn, 'rgb8', result.header)

    def _markers_message(self, result: Result) -> MarkerArray | None:
        message = self._markers.message(result, self._value('image_timeout'))
        return message if message.markers else None

    def _cloud_message(self, result: Result) -> PointCloud2 | None:
        if result.view is None:
            return None
        return cloud_message(result.view.cloud(result.frame.labels, result.image), result.header)

    def _tf_message(self, result: Result) -> Any:
        if not self._value('publish_tf'):
            return None
        found = transforms(result, self._frames)
        return TFMessage(transforms=found) if found else None

    def _say_what_is_missing(self) -> None:
        missing = []
        if companions.vision is None:
            missing.append('vision_msgs (no ~/detections_2d, no ~/label_info)')
        if TFMessage is None:
            missing.append('tf2_msgs (no publish_tf)')
        if missing:
            self._node.get_logger().info(f'not installed: {", ".join(missing)}')

    def _value(self, name: str) -> Any:
        return self._node.get_parameter(name).value
