# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A subscription to images that follows the publishers on the graph."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from tam_ros.io.image_data import MAX_PIXELS
from tam_ros.io.video_packets import is_video_format
from tam_ros.printable import MAX_NAME, MAX_TEXT, printable
from tam_ros.ros.images.offers import (
    Graph,
    Publisher,
    Wanted,
    choose,
    explain,
    heard,
    names,
    several,
)
from tam_ros.ros.images.transports import transport_of
from tam_ros.ros.images.video import QUEUE_DEPTH, VideoPackets
from tam_ros.ros.images.watch import Watch
from tam_ros.ros.incoming_texts import cut_texts
from tam_ros.ros.message_loss import remedy, subscribe

PERIOD_S = 0.5
"""Seconds between two looks at the graph. With Fast DDS and 180 topics, one takes 0.6 ms, and
20 ms while no image arrives.
"""


class ImageSubscription:
    """Subscribes to what the publishers offer, and again when they change.

    All methods and callbacks run in the executor's thread; the attributes may be read from any.

    Attributes:
        topic: the topic that is subscribed to.
        problem: what is wrong with the publishers, or empty.
    """

    def __init__(
        self,
        node: Node,
        wanted: Wanted,
        callback: Callable[[Any], None],
        depth: int,
        timeout_s: Callable[[], float],
        lost: Callable[[int], None] = lambda count: None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Subscribe.

        Args:
            node: node to subscribe with, and whose log is written.
            wanted: the images.
            callback: called with each message; with a `VideoImage` for each picture of a video.
            depth: messages that may wait for the executor; not of a video.
            timeout_s: returns the seconds without an image after which that is a problem.
            lost: called with the number of messages that the transport lost.
            max_pixels: most pixels of a picture of a video.
        """
        self.problem = ''
        self._node = node
        self._wanted = wanted
        self._callback = callback
        self._depth = depth
        self._timeout_s = timeout_s
        self._on_lost = lost
        self._max_pixels = max_pixels
        self._received = self._lost = 0
        self._had_images = False
        # Some drivers send video packets as `CompressedImage`.
        self._is_video = wanted.transport.is_video
        self._remedy = remedy(wanted.reliability)
        self._video: VideoPackets | None = None
        self._watch = Watch('depth image' if wanted.argument == 'depth' else 'image')
        self._looked_at = time.monotonic()
        self._choice = choose(wanted, self._graph(*names(wanted)))
        self.topic = self._choice.topic
        self._subscription = self._subscribe()
        # Not on the node's clock, which may be that of a recording that is paused.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD_S, self._on_timer, clock=clock)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)
        self.problem = ''

    def _subscribe(self) -> Subscription:
        reliable = self._choice.reliable
        self._video = None
        if self._is_video:
            self._video = VideoPackets(self._receive_image, self._max_pixels)
        qos = QoSProfile(
            depth=QUEUE_DEPTH if self._is_video else self._depth,
            history=HistoryPolicy.KEEP_LAST,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        message_type = _message_class(self._wanted.transport.type)
        read = self._video.receive if self._video is not None else self._receive_message

        def receive(message: Any) -> None:
            cut_texts(message)
            read(message)

        return subscribe(self._node, message_type, self._choice.topic, receive, qos, self._lose)

    def _receive_message(self, message: Any) -> None:
        if is_video_format(getattr(message, 'format', '')):
            self._is_video = True  # `_look` subscribes again, with a queue for all packets
        else:
            self._receive_image(message)

    def _receive_image(self, message: Any) -> None:
        self._received += 1
        self._had_images = True
        self._callback(message)

    def _lose(self, count: int) -> None:
        self._lost += count
        self._on_lost(count)

    def _on_timer(self) -> None:
        try:
            self._look()
        except Exception as error:
            if self._node.context.ok():  # not shut down in the meantime
                self._node.get_logger().error(
                    f'cannot look at the graph: {error}', throttle_duration_sec=60.0
                )

    def _look(self) -> None:
        wanted = self._wanted
        graph = self._graph(*names(wanted))
        choice = choose(wanted, graph)
        # As long as nobody publishes, the last camera is expected back.
        is_other_kind = self._is_video != (self._video is not None)
        if is_other_kind or (choice != self._choice and graph.get(choice.topic)):
            self._node.destroy_subscription(self._subscription)
            self._choice, self.topic = choice, choice.topic
            self._subscription = self._subscribe()
            self._node.get_logger().debug(
                f'subscribed to {choice.topic} {"reliable" if choice.reliable else "best effort"}'
            )
        now = time.monotonic()
        lines = self._watch.look(
            # A silence counts only while this thread listens.
            min(now - self._looked_at, 2 * PERIOD_S),
            self._received,
            self._lost,
            topic=self.topic,
            timeout_s=self._timeout_s(),
            mixed=several(wanted, self._choice, graph),
            heard=bool(heard(wanted, self._choice, graph)),
            explain=self._explain,
            remedy=self._remedy,
        )
        self._looked_at, self._received, self._lost = now, 0, 0
        self.problem = self._watch.problem
        for line in lines:
            log, text = self._node.get_logger(), printable(line.text, 2 * MAX_TEXT)
            # rclpy refuses another severity from the same line.
            if line.warning:
                log.warning(text)
            else:
                log.info(text)

    def _explain(self) -> str:
        if self._video is not None and self._video.problem:
            return self._video.problem
        helps = '' if self._had_images else self._remedy
        return explain(self._wanted, self._choice, self._whole_graph(), helps)

    def _whole_graph(self) -> Graph:
        """Return the publishers of all topics with images, and of the wanted ones."""
        found = self._node.get_topic_names_and_types()
        images = [
            topic for topic, types in found if any(transport_of(topic, one) for one in types)
        ]
        return self._graph(*images, *names(self._wanted), self._wanted.topic)

    def _graph(self, *topics: str) -> Graph:
        """Return the publishers of these topics."""
        node = self._node
        own = node.get_fully_qualified_name()
        graph = {}
        for topic in topics:
            publishers = [
                Publisher(
                    printable(_node_name(info), MAX_NAME),
                    info.topic_type,
                    info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
                )
                for info in node.get_publishers_info_by_topic(topic)
            ]
            others = [one for one in publishers if one.node != own]
            if others:
                graph[topic] = others
        return graph


def _node_name(info: TopicEndpointInfo) -> str:
    if info.node_name == '_NODE_NAME_UNKNOWN_':  # rmw: a program that uses DDS without ROS
        return 'a program without a ROS node'
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def _message_class(message_type: str) -> type:
    """Return the class of a type such as `sensor_msgs/msg/Image`."""
    package, _, name = message_type.split('/')
    found: type = getattr(importlib.import_module(f'{package}.msg'), name)
    return found
