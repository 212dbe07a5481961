# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The part of a node that makes outputs; it publishes nothing."""

from types import SimpleNamespace

from tam_ros.ros.parameters import Parameters


class FakeNode:
    def get_fully_qualified_name(self):
        return '/cam/track_node'

    def create_lifecycle_publisher(self, message_type, topic, qos):
        return None


def make_output(output, **parameters):
    """Return an output of a fake node."""
    return output(FakeNode(), SimpleNamespace(current=Parameters(**parameters)))
