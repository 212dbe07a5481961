# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to prompts, over DDS: from reliable and best-effort publishers."""

from __future__ import annotations

import time

import pytest
from geometry_msgs.msg import Point
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from tam_ros.ros.inputs.subscription import PromptSubscription

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Bench:
    def __init__(self):
        self.node, self.operator = Node('listener'), Node('operator')
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.operator):
            self.executor.add_node(node)
        self.received = []
        PromptSubscription(self.node, Point, 'clicks', self.received.append)

    def is_heard(self, reliability):
        """Return whether messages of a publisher arrive, which is made now."""
        publisher = self.operator.create_publisher(
            Point, 'clicks', QoSProfile(depth=5, reliability=reliability)
        )
        end = time.monotonic() + 20.0
        self.received.clear()
        while not self.received and time.monotonic() < end:
            if publisher.get_subscription_count():
                publisher.publish(Point())
            self.executor.spin_once(0.05)
        return bool(self.received)

    def reliability(self):
        (info,) = self.node.get_subscriptions_info_by_topic('/clicks')
        return info.qos_profile.reliability


@pytest.fixture
def bench(ros):
    bench = Bench()
    yield bench
    bench.executor.shutdown()
    bench.node.destroy_node()
    bench.operator.destroy_node()


def test_reliable_publishers_lose_nothing(bench):
    assert bench.is_heard(RELIABLE)
    assert bench.reliability() == RELIABLE


def test_best_effort_publishers_are_heard_and_reliable_ones_still(bench):
    assert bench.is_heard(BEST_EFFORT)
    assert bench.is_heard(RELIABLE)
    assert bench.reliability() == BEST_EFFORT
