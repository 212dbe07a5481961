# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that say what they did not receive."""

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
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    lost: Callable[[int], None],
) -> Subscription:
    """Subscribe, and count the messages that the middleware lost on their way.

    Not those that a newer one replaced in the queue. Best-effort images above half a megabyte are
    lost by the default settings of Fast DDS, and nothing else tells.

    Args:
        node: to subscribe with.
        kind: of the messages.
        topic: to listen to.
        callback: called with each message.
        qos: quality of service.
        lost: called with how many messages were lost; never where the middleware does not know.
    """
    events = SubscriptionEventCallbacks(message_lost=lambda event: lost(event.total_count_change))
    try:
        return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
    except UnsupportedEventTypeError:
        return node.create_subscription(kind, topic, callback, qos)
