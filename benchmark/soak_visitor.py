# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Subscribers that come and go: `python -m benchmark.soak_visitor --seed 1`.

They have a process of their own, which writes a line at every change: now and then Fast DDS (2.14)
tries for ever to take a sample from such a subscription, and Python's lock is held meanwhile.
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
# Topics that somebody may listen to or not, whether the node has them or not.
TOPICS = (
    ('labels', Image),
    ('overlay', Image),
    ('objects', TrackedObjectArray),
    ('labels/compressed', CompressedImage),
)


def main(arguments: list[str] | None = None) -> int:
    """Come and go until interrupted."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.soak_visitor', description=__doc__)
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args(rclpy.utilities.remove_ros_args(arguments or sys.argv)[1:])
    chance = random.Random(options.seed)
    rclpy.init(args=arguments)
    node = rclpy.create_node('visitor')
    here: list[Any] = []

    def change() -> None:
        print('visit', flush=True)
        if len(here) >= MOST or (here and chance.random() < 0.5):
            node.destroy_subscription(here.pop(0))
            return
        topic, kind = chance.choice(TOPICS)
        reliability = chance.choice((ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT))
        here.append(
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
