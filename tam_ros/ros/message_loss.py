# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images that the middleware loses: how they are counted, and what helps against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier

from tam_ros.ros.distribution import PROFILE_VARIABLE, subscription_events

SubscriptionEventCallbacks, UnsupportedEventTypeError = subscription_events()


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
    Fast DDS loses best-effort images above half a megabyte without any other report. rclpy's own
    warnings about publishers that do not match are switched off: `images.offers` says more.

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

    for events in (
        SubscriptionEventCallbacks(message_lost=count, use_default_callbacks=False),
        SubscriptionEventCallbacks(use_default_callbacks=False),
    ):
        try:
            return node.create_subscription(
                message_type, topic, callback, qos, event_callbacks=events
            )
        except UnsupportedEventTypeError:
            continue
    raise AssertionError('a subscription without events needs no support for them')


def remedy(reliability: str) -> str:
    """Return what helps against the loss of large images.

    Args:
        reliability: the parameter `qos_reliability`.
    """
    if get_rmw_implementation_identifier().startswith('rmw_fastrtps'):
        helps = (
            f'before the camera is started, export {PROFILE_VARIABLE}=$(ros2 pkg '
            'prefix --share tam_ros)/config/fastdds_images.xml'
        )
    else:
        helps = 'raise the limits of the middleware for large messages'
    automatic = '' if reliability == 'auto' else ', or set qos_reliability: auto'
    return f'{helps}{automatic}; from another computer, send compressed images (README, "Cameras")'
