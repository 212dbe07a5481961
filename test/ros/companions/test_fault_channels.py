# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the fault node reads from messages."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
messages = pytest.importorskip('tam_ros.msg')
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402

from tam_ros.ros.companions.fault_channels import (  # noqa: E402
    DetectionChannels,
    TrackerChannels,
)

SECOND = 10**9
VISIBLE, LOST = messages.TrackedObject.VISIBLE, messages.TrackedObject.LOST


class Values(dict):
    """The newest value of each channel, and which of them count by their largest."""

    def __init__(self):
        self.largest = set()

    def __call__(self, channel, value, largest):
        self[channel] = value
        if largest:
            self.largest.add(channel)


@pytest.fixture
def values() -> Values:
    return Values()


def array(stamp, *objects):
    message = messages.TrackedObjectArray(objects=objects)
    message.header.stamp.sec = stamp
    return message


def tracked(number, x=0.0, area=100, state=VISIBLE, distance=0.0, points=0):
    one = messages.TrackedObject(id=number, area=area, state=state, score=0.5)
    one.centroid.x, one.position.z, one.position_points = x, distance, points
    return one


def test_visible_objects(values):
    channels = TrackerChannels('/left/track_node', values)
    first = array(5, tracked(1, x=10.0), tracked(2, area=0, state=LOST))
    channels.objects(first, 100.0, 6 * SECOND)
    assert values == {
        'left/track_node/latency': 1.0,
        'left/track_node/visible': 1,
        'left/track_node/score': 0.5,
        'left/track_node/area': pytest.approx(math.log(100)),
    }
    channels.objects(array(7, tracked(1, x=50.0)), 100.5, 8 * SECOND)
    assert values['left/track_node/speed'] == pytest.approx(40 / 10 / 2)
    assert values['left/track_node/gap'] == pytest.approx(0.5)
    assert values.largest == {'left/track_node/gap'}


def test_speed_needs_two_images_in_order(values):
    channels = TrackerChannels('/a', values)
    for stamp, number in ((5, 1), (5, 1), (4, 1), (6, 2), (0, 2), (7, 2)):
        channels.objects(array(stamp, tracked(number)), 0.0, 0)
    assert 'a/speed' not in values


def test_depth_counts_once_it_was_used(values):
    channels = TrackerChannels('/a', values)
    channels.objects(array(1, tracked(1)), 0.0, 0)
    assert not {'a/coverage', 'a/distance'} & set(values)
    channels.objects(array(2, tracked(1, distance=2.0, points=40)), 0.0, 0)
    assert values['a/distance'] == pytest.approx(math.log(2))
    assert values['a/coverage'] == pytest.approx(0.4)
    channels.objects(array(3, tracked(1, distance=math.nan)), 0.0, 0)
    assert values['a/coverage'] == 0


def test_diagnostics_of_the_own_tracker(values):
    channels = TrackerChannels('/a', values)

    def status(name, **entries):
        pairs = [KeyValue(key=key, value=value) for key, value in entries.items()]
        return DiagnosticStatus(name=name, values=pairs)

    message = DiagnosticArray(
        status=[
            status('a: input', rate_hz='9.50', dropped_share='broken', topic='/image'),
            status('b: input', rate_hz='1.00'),
            status('a: depth', offset_ms_p50='4.0'),
            status('a: tracking', rate_hz='5.0'),
        ]
    )
    channels.diagnostics(message)
    assert math.isnan(values.pop('a/dropped_share'))  # left out by Windows.add
    assert values == {'a/rate_hz': 9.5, 'a/offset_ms_p50': 4.0}


def test_detections(values):
    channels = DetectionChannels('/detections', values)

    def detection(*scores):
        hypotheses = (SimpleNamespace(score=score) for score in scores)
        return SimpleNamespace(results=[SimpleNamespace(hypothesis=one) for one in hypotheses])

    message = SimpleNamespace(detections=[detection(0.2, 0.8), detection(), detection(0.4)])
    channels.detections(message, 1.0)
    assert values == {'detections/count': 3, 'detections/score': pytest.approx(0.6)}
    channels.detections(SimpleNamespace(detections=[]), 3.0)
    assert (values['detections/count'], values['detections/gap']) == (0, 2.0)
