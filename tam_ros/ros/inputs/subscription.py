# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A subscription that also hears best-effort publishers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

DEPTH = 20
"""Messages that may wait. Prompts are rare, and none may be lost."""


class PromptSubscription:
    """Subscribes reliably, and as best effort once a publisher offers no more than that.

    A reliable subscription receives nothing from a best-effort publisher. A best-effort one
    receives from all, but may lose messages of reliable publishers as well, so it is only made
    when it is needed.
    """

    def __init__(
        self, node: Node, message_type: type, topic: str, callback: Callable[[Any], None]
    ) -> None:
        """Subscribe.

        Args:
            node: node to subscribe with, and whose log is written.
            message_type: type of the topic.
            topic: topic to subscribe to.
            callback: called with each message.
        """
        self._node = node
        self._arguments = message_type, topic, callback
        self._subscription = self._subscribe(ReliabilityPolicy.RELIABLE)

    def _subscribe(self, reliability: ReliabilityPolicy) -> Subscription:
        qos = QoSProfile(depth=DEPTH, reliability=reliability)
        if reliability == ReliabilityPolicy.RELIABLE:
            events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible)
            try:
                return self._node.create_subscription(
                    *self._arguments, qos, event_callbacks=events
                )
            except UnsupportedEventTypeError:
                pass  # a middleware without this event connects all publishers
        return self._node.create_subscription(*self._arguments, qos)

    def _on_incompatible(self, event: Any) -> None:
        reliable, self._subscription = (
            self._subscription,
            self._subscribe(ReliabilityPolicy.BEST_EFFORT),
        )
        self._node.destroy_subscription(reliable)
        self._node.get_logger().info(
            f'{self._subscription.topic_name} has a best-effort publisher: subscribed as best '
            f'effort'
        )
