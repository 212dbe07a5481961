# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node on interfaces like those of Humble, made of the installed ones.

What later distributions added to the classes of rclpy is removed. The environment adds the rest:
ROS_DISTRO=humble, and ROS_PYTHON_CHECK_FIELDS=1, since Humble checks the fields of all messages.
"""

import runpy
import sys
from pathlib import Path

from rclpy import event_handler
from rclpy.client import Client
from rclpy.node import Node
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.task import Future

ADDED = {
    Client: ('configure_introspection', 'service_name'),
    Future: ('remove_done_callback',),
    Node: (
        'list_parameters',
        'add_pre_set_parameters_callback',
        'add_post_set_parameters_callback',
        'remove_pre_set_parameters_callback',
        'remove_post_set_parameters_callback',
        'get_fully_qualified_node_names',
        'count_clients',
        'count_services',
        'wait_for_node',
    ),
    Service: ('configure_introspection', 'service_name'),
    Subscription: ('get_publisher_count',),
}


def remove_what_was_added() -> None:
    """Remove the modules and methods that Humble does not have."""
    # With None, an import of the module fails.
    sys.modules['rclpy.qos_event'] = event_handler
    for module in ('event_handler', 'clock_type', 'parameter_client', 'parameter_event_handler'):
        sys.modules[f'rclpy.{module}'] = None  # type: ignore[assignment]
    for kind, names in ADDED.items():
        for name in names:
            delattr(kind, name)


if __name__ == '__main__':
    remove_what_was_added()
    runpy.run_path(str(Path(__file__).with_name('fake_track_node.py')), run_name='__main__')
