# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A tracking node as it is often written, for comparison: `python -m benchmark.naive_node KIND`.

- `bytes`, `ndarray`: inference in the callback of a subscription with a queue of ten; results are
  published with `message.data = array.tobytes()`, or `message.data = array`.
- `empty`: no inference and a constant result, to measure DDS and rclpy alone.

All publish the topics of the tracking node; the tracker is that of `benchmark.stand_in`.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from benchmark.stand_in import open_stand_in
from tam_ros.msg import Prompt, TrackedObjectArray
from tam_ros.ros.conversions import array_to_image, stamp_ns
from tam_ros.ros.inputs.prompts import read_prompt
from tam_ros.ros.outputs.objects import objects_message
from tam_ros.tracking import Prompt as TrackerPrompt
from tam_ros.tracking import TrackerOptions

KINDS = ('bytes', 'ndarray', 'empty')


class NaiveNode(Node):
    """Runs the tracker in the callback of its subscription."""

    def __init__(self, kind: str, options: TrackerOptions) -> None:
        """Create publishers and subscriptions.

        Args:
            kind: one of `KINDS`.
            options: options of the tracker.
        """
        super().__init__('track_node')
        self._kind = kind
        self._tracker = open_stand_in('stand-in', options=options)
        self._prompts: list[TrackerPrompt] = []
        self._ready: Image | None = None
        self._objects = self.create_publisher(TrackedObjectArray, '~/objects', 5)
        self._labels = self.create_publisher(Image, '~/labels', 5)
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Image, 'image', self._on_image, qos)
        self.create_subscription(Prompt, '~/prompt', self._on_prompt, 10)

    def _on_prompt(self, message: Prompt) -> None:
        request = read_prompt(message)
        self._prompts.append(request.prompt(len(self._tracker.objects) + len(self._prompts) + 1))

    def _on_image(self, message: Image) -> None:
        if self._kind == 'empty':
            self._publish_constant(message)
            return
        # A copy, as cv_bridge makes one for an encoding that it converts.
        image = np.ndarray((message.height, message.width, 3), np.uint8, bytes(message.data))
        prompts, self._prompts = self._prompts, []
        frame = self._tracker.step(image, stamp_ns(message.header) / 1e9, prompts)
        self._objects.publish(objects_message(frame, message.header, {}, False))
        labels = Image(header=message.header, encoding='mono8', height=message.height)
        labels.width = labels.step = message.width
        pixels = frame.labels.astype(np.uint8)
        labels.data = pixels.tobytes() if self._kind == 'bytes' else pixels.ravel()
        self._labels.publish(labels)

    def _publish_constant(self, message: Image) -> None:
        if self._ready is None:
            pixels = np.zeros((message.height, message.width), np.uint8)
            self._ready = array_to_image(pixels, 'mono8', message.header)
        self._ready.header = message.header
        self._objects.publish(TrackedObjectArray(header=message.header))
        self._labels.publish(self._ready)


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.naive_node', description=__doc__)
    parser.add_argument('kind', choices=KINDS)
    parser.add_argument('--resize', default='pil')
    options = parser.parse_args(rclpy.utilities.remove_ros_args(arguments or sys.argv)[1:])
    rclpy.init(args=arguments)
    node = NaiveNode(options.kind, TrackerOptions(resize=options.resize))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
