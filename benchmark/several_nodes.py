# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Several nodes in one process: `python -m benchmark.several_nodes front rear --ros-args ...`.

Each node has the namespace of its camera, its own tracker and its own inference thread; one
executor spins all of them.
"""

from __future__ import annotations

import argparse
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from tam_ros.ros.track_node import TrackNode


class _Namespaced(LifecycleNode):
    """Adds the namespace between the tracking node and the node of rclpy."""

    namespace = ''

    def __init__(self, name: str) -> None:
        super().__init__(name, namespace=self.namespace)


class CameraNode(TrackNode, _Namespaced):
    """A tracking node in a namespace."""

    def __init__(self, namespace: str) -> None:
        """Configure and activate the node.

        Raises:
            RuntimeError: the node cannot be configured.
        """
        self.namespace = namespace
        super().__init__()
        done = TransitionCallbackReturn.SUCCESS
        if self.trigger_configure() != done or self.trigger_activate() != done:
            raise RuntimeError(f'{namespace} cannot be configured')


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.several_nodes', description=__doc__)
    parser.add_argument('cameras', nargs='+')
    options = parser.parse_args(rclpy.utilities.remove_ros_args(arguments or sys.argv)[1:])
    rclpy.init(args=arguments)
    nodes: list[CameraNode] = []
    try:
        executor = SingleThreadedExecutor()
        for camera in options.cameras:
            nodes.append(CameraNode(camera))
            executor.add_node(nodes[-1])
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
