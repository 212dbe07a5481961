# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The base of an output topic, the result it is made of, and the loop that publishes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from tam_ros.interfaces import labels_encoding
from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.diagnostics.statistics import Statistics
from tam_ros.spatial import DepthView, Location
from tam_ros.tracking import FrameResult

RESULT_QOS = QoSProfile(depth=5)
"""Reliable, so that reliable and best-effort subscribers receive the results."""


class TrackedImage:
    """One tracked image. Values that take time are computed when they are first used.

    Attributes:
        frame: result of the tracker.
        names: names of the objects that have one, by id.
        header: header of the image; every message about the image has it unchanged.
        image: uint8 RGB [H, W, 3].
    """

    def __init__(
        self,
        frame: FrameResult,
        names: Mapping[int, str],
        header: Header,
        image: NDArray[np.uint8],
        find_depth: Callable[[], DepthView | None] = lambda: None,
    ) -> None:
        """Create the result of an image.

        Args:
            frame: see the attributes.
            names: see the attributes.
            header: see the attributes.
            image: see the attributes.
            find_depth: returns the depth of the image, or None if there is none.
        """
        self.frame = frame
        self.names = names
        self.header = header
        self.image = image
        self._find_depth = find_depth

    @cached_property
    def depth(self) -> DepthView | None:
        """The depth of the image, or None."""
        return self._find_depth()

    @cached_property
    def locations(self) -> dict[int, Location]:
        """Positions by id, of the visible objects whose depth was measured."""
        locations = {}
        for item in self.frame.objects:
            if item.box is not None and self.depth is not None:
                location = self.depth.locate(item.mask, item.box)
                if location is not None:
                    locations[item.id] = location
        return locations

    @cached_property
    def labels_encoding(self) -> str:
        """Encoding of the label image: the smallest that holds its ids."""
        return labels_encoding(int(self.frame.labels.max(initial=0)))

    @cached_property
    def labels(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The label image [H, W] in its encoding."""
        labels = self.frame.labels
        return labels.astype(np.uint8) if self.labels_encoding == 'mono8' else labels


class Output:
    """One topic with results.

    To add one, derive a class in a file of this folder, and list it in `OUTPUTS` of `track_node`.
    Outputs are made in the order of that list; nothing is computed for a topic without
    subscribers.

    Attributes:
        topic: its name, also that of its stage in the statistics.
        message_type: type of the topic; None: the package with the message is not installed.
        qos: QoS of the publisher.
        package: package of the message, if it is optional.
    """

    topic: ClassVar[str]
    message_type: ClassVar[type | None]
    qos: ClassVar[QoSProfile] = RESULT_QOS
    package: ClassVar[str] = ''

    def __init__(self, node: LifecycleNode, parameters: NodeParameters) -> None:
        """Create the publisher, which is silent until the node is active.

        Args:
            node: node to publish with.
            parameters: parameters of the node.
        """
        self.parameters = parameters
        self.node_name = node.get_fully_qualified_name()
        self.publisher = node.create_lifecycle_publisher(self.message_type, self.topic, self.qos)

    @property
    def stage(self) -> str:
        """Name of the stage in the statistics."""
        return self.topic.removeprefix('~/')

    @property
    def wanted(self) -> bool:
        """Whether there is a subscriber; always true for a latched topic."""
        latched = self.publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        return latched or self.publisher.get_subscription_count() > 0

    def message(self, result: TrackedImage) -> Any | None:
        """Return the message about an image; None: publish nothing."""
        raise NotImplementedError


class Publishers:
    """All outputs of a node."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        statistics: Statistics,
        outputs: Iterable[type[Output]],
    ) -> None:
        """Create the outputs whose packages are installed.

        Args:
            node: node to publish with.
            parameters: parameters of the node.
            statistics: records the duration of each output.
            outputs: the classes, in the order of publishing.
        """
        self._statistics = statistics
        self._outputs = []
        missing = defaultdict(list)
        for output in outputs:
            if output.message_type is None:
                missing[output.package].append(output.topic)
            else:
                self._outputs.append(output(node, parameters))
        for package, topics in missing.items():
            node.get_logger().info(
                f'{package} is not installed: {", ".join(topics)} '
                f'{"is" if len(topics) == 1 else "are"} not published'
            )

    def publish(self, result: TrackedImage) -> None:
        """Publish the result of one image."""
        for output in self._outputs:
            if not output.wanted:
                continue
            with self._statistics.stage(output.stage):
                message = output.message(result)
                if message is not None:
                    output.publisher.publish(message)
