# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Subscribers that appear and disappear: `python -m benchmark.soak_visitor --seed 1`.

They run in their own process, which writes a line at each change: occasionally Fast DDS (2.14)
loops endlessly while it takes a sample from such a subscription, and holds the GIL.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from benchmark.graph import NODE
from tam_ros.msg import TrackedObjectArray

PERIOD_S = 0.8
MOST = 6
# Optional topics; the node need not publish all of them.
TOPICS = (
    ('labels', Image),
    ('overlay', Image),
    ('objects', TrackedObjectArray),
    ('labels/compressed', CompressedImage),
)


def main(arguments: list[str] | None = None) -> int:
    """Add and remove subscriptions until interrupted."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.soak_visitor', description=__doc__)
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args(rclpy.utilities.remove_ros_args(arguments or sys.argv)[1:])
    rng = random.Random(options.seed)
    rclpy.init(args=arguments)
    node = rclpy.create_node('visitor')
    subscriptions: list[Any] = []

    def change() -> None:
        print('visit', flush=True)
        if len(subscriptions) >= MOST or (subscriptions and rng.random() < 0.5):
            node.destroy_subscription(subscriptions.pop(0))
            return
        topic, kind = rng.choice(TOPICS)
        reliability = rng.choice((ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT))
        subscriptions.append(
            node.create_subscription(
                kind,
                f'{NODE}/{topic}',
                lambda _: None,
                QoSProfile(depth=5, reliability=reliability),
            )
        )

    node.create_timer(PERIOD_S, change)
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
