# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What differs between the distributions of ROS 2, in one place.

What differs between the Python wheels of ROS is in requirements-ros-DISTRO.txt. rclpy is imported
in the functions only, so that the environment can be changed before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter

_DISTRO = os.environ.get('ROS_DISTRO', '')

PROFILE_VARIABLE = (
    'FASTRTPS_DEFAULT_PROFILES_FILE'
    if _DISTRO in ('humble', 'iron', 'jazzy')
    else 'FASTDDS_DEFAULT_PROFILES_FILE'
)
"""Environment variable with the profile of Fast DDS, renamed in its version 3, that of Kilted."""

ON_THIS_MACHINE = (
    {'ROS_LOCALHOST_ONLY': '1'}
    if _DISTRO == 'humble'
    else {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
)
"""Environment variables with which nodes find only those on the same machine."""

BEFORE_RECORDED_TOPICS = () if _DISTRO == 'humble' else ('--topics',)
"""Option of `ros2 bag record` before the topics. Later distributions warn without it."""


def subscription_events() -> tuple[Any, type[Exception]]:
    """Return `SubscriptionEventCallbacks` and `UnsupportedEventTypeError` of rclpy."""
    try:
        from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
    except ImportError:  # Humble
        from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError
    return SubscriptionEventCallbacks, UnsupportedEventTypeError


def before_parameters_are_set(
    node: Node, change: Callable[[Sequence[Parameter]], list[Parameter]]
) -> None:
    """Let a function change the values that are given to a node. Humble cannot do it."""
    if hasattr(node, 'add_pre_set_parameters_callback'):
        node.add_pre_set_parameters_callback(change)
