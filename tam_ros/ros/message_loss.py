# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that report the messages that the middleware lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


def subscribe(
    node: Node,
    message_type: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    lost: Callable[[int], None],
) -> Subscription:
    """Subscribe, and count the messages that the middleware loses.

    Messages that a newer one replaced in the queue are not counted. With its default settings,
    Fast DDS loses best-effort images above half a megabyte without any other report.

    Args:
        node: node to subscribe with.
        message_type: type of the topic.
        topic: topic to subscribe to.
        callback: called with each message.
        qos: quality of service.
        lost: called with the number of lost messages; never if the middleware does not report it.
    """

    def count(event: Any) -> None:
        lost(event.total_count_change)

    events = SubscriptionEventCallbacks(message_lost=count)
    try:
        return node.create_subscription(message_type, topic, callback, qos, event_callbacks=events)
    except UnsupportedEventTypeError:
        return node.create_subscription(message_type, topic, callback, qos)
