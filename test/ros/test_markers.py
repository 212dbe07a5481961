# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Markers and frames of objects that have a place."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')

from fake_tracker import ColourTracker  # noqa: E402
from ros_graph import picture  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from tam_ros.ros.markers import BOXES, NAMES, Markers, transforms  # noqa: E402
from tam_ros.ros.result import Result  # noqa: E402
from tam_ros.spatial import Place  # noqa: E402
from tam_ros.tracking import Prompt  # noqa: E402

HEADER = Header(frame_id='camera_optical')
HERE = Place(
    position=np.array([0.1, 0.2, 2.0]),
    lower=np.array([0.0, 0.1, 2.0]),
    upper=np.array([0.4, 0.3, 2.0]),
    covariance=np.eye(3),
    points=9,
)


def result(places, names=None):
    """Return the result of an image with the objects 1 and 2."""
    prompts = [Prompt.points(1, [(12, 12)], [1]), Prompt.points(2, [(50, 40)], [1])]
    image = picture(red=(10, 10), blue=(45, 33))
    made = Result(ColourTracker().step(image, 1.0, prompts), names or {}, HEADER, image)
    made.places = places
    return made


def test_a_box_and_a_name():
    box, name = Markers().message(result({2: HERE}, {2: 'mug'}), 1.5).markers
    assert (box.ns, box.id, box.type, box.action) == (BOXES, 2, Marker.CUBE, Marker.ADD)
    assert box.header == name.header == HEADER
    at, size = box.pose.position, box.scale
    assert (at.x, at.y, at.z) == pytest.approx((0.2, 0.2, 2.0)), 'the middle of the box'
    assert (size.x, size.y) == pytest.approx((0.4, 0.2))
    assert size.z > 0, 'RViz wants every edge to have a length'
    assert box.pose.orientation.w == 1
    assert 0 < box.color.a < 1
    assert (box.lifetime.sec, box.lifetime.nanosec) == (1, 500_000_000)

    assert (name.ns, name.id, name.type) == (NAMES, 2, Marker.TEXT_VIEW_FACING)
    assert name.text == '2 mug\nvisible'
    assert name.pose.position.y < 0.1, 'above the box'
    assert name.color.a == 1


def test_what_goes_is_deleted_once():
    markers = Markers()
    assert len(markers.message(result({1: HERE, 2: HERE}), 1.0).markers) == 4
    message = markers.message(result({2: HERE}), 1.0).markers
    gone = [(item.ns, item.id) for item in message if item.action == Marker.DELETE]
    assert gone == [(BOXES, 1), (NAMES, 1)]
    assert {item.id for item in message if item.action == Marker.ADD} == {2}
    assert len(markers.message(result({2: HERE}), 1.0).markers) == 2
    assert {item.action for item in markers.message(result({}), 1.0).markers} == {Marker.DELETE}
    assert not markers.message(result({}), 1.0).markers


def test_a_frame_for_each_object():
    (frame,) = transforms(result({2: HERE}), 'cam/track_node/object_')
    assert frame.header == HEADER
    assert frame.child_frame_id == 'cam/track_node/object_2'
    shift = frame.transform.translation
    assert (shift.x, shift.y, shift.z) == (0.1, 0.2, 2.0), 'the median, not the middle of the box'
    assert frame.transform.rotation.w == 1
