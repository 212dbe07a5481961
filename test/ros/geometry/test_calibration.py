# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The calibration of the camera: who is heard, and which message applies."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import CameraInfo

from tam_ros.ros.geometry.calibration import Calibration
from tam_ros.ros.parameters import Parameters
from tam_ros.spatial import CameraError

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
ERROR = QoSCompatibility.ERROR
LATCHED, VOLATILE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE


class Node:
    """The part of a node that is used."""

    def __init__(self):
        self.subscriptions = []
        self.offered = []

    def resolve_topic_name(self, name):
        return f'/camera/{name}'

    def create_subscription(self, kind, topic, callback, qos):
        assert (kind, topic) == (CameraInfo, 'camera_info')
        self.subscriptions.append((qos, callback))
        return self.subscriptions[-1]

    def destroy_subscription(self, subscription):
        self.subscriptions.remove(subscription)

    def create_timer(self, period, callback, clock):
        self.look = callback

    def get_publishers_info_by_topic(self, topic):
        assert topic == '/camera/camera_info'
        return [SimpleNamespace(qos_profile=qos) for qos in self.offered]


def calibration():
    node = Node()
    return Calibration(node, SimpleNamespace(current=Parameters())), node


def info(focal=100.0, stamp=0, width=64):
    made = CameraInfo(width=width, height=48, distortion_model='plumb_bob')
    made.k = [focal, 0.0, 32.0, 0.0, focal, 24.0, 0.0, 0.0, 1.0]
    made.header.stamp.sec = stamp
    return made


@pytest.mark.parametrize(
    ('reliability', 'durability'),
    [(RELIABLE, LATCHED), (RELIABLE, VOLATILE), (BEST_EFFORT, VOLATILE), (BEST_EFFORT, LATCHED)],
)
def test_every_publisher_is_heard(reliability, durability):
    _, node = calibration()
    node.offered = [QoSProfile(depth=1, reliability=reliability, durability=durability)]
    assert qos_check_compatible(node.offered[0], node.subscriptions[0][0])[0] != ERROR


def test_what_a_latched_publisher_sent_before_is_asked_for():
    """Only while there is one: others would warn of a subscription that they cannot serve."""
    _, node = calibration()
    volatile, latched = (
        QoSProfile(depth=1, durability=durability) for durability in (VOLATILE, LATCHED)
    )
    heard = []
    for offered in ([], [volatile], [volatile, latched], [latched], [], [volatile]):
        node.offered = offered
        node.look()
        heard.append([qos.durability for qos, _ in node.subscriptions[1:]])
    assert heard == [[], [], [LATCHED], [LATCHED], [LATCHED], []]


def test_a_camera_info_that_arrives_twice_is_one_camera():
    made, node = calibration()
    with pytest.raises(CameraError, match='no camera info has arrived on /camera/camera_info'):
        made.camera(48, 64)
    node.offered = [QoSProfile(depth=1, durability=LATCHED)]
    node.look()
    assert len(node.subscriptions) == 2
    for _, callback in node.subscriptions:
        callback(info(stamp=1))
    camera = made.camera(48, 64)
    for _, callback in node.subscriptions:
        callback(info(stamp=2))
    assert made.camera(48, 64) is camera
    node.subscriptions[0][1](info(focal=120.0, stamp=3))
    assert made.camera(48, 64).matrix[0, 0] == 120


def test_a_camera_info_of_another_size():
    made, node = calibration()
    node.subscriptions[0][1](info(width=128))
    with pytest.raises(CameraError, match='images of 128x48, but the tracked images are 64x48'):
        made.camera(48, 64)
