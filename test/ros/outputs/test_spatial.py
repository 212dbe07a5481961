# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Clouds, markers and TF frames of objects with a known position."""

from __future__ import annotations

import numpy as np
import pytest
from fake_node import make_output
from fakes.colour_tracker import ColourTracker, picture
from sensor_msgs.msg import PointField
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from tam_ros.ros.outputs import spatial
from tam_ros.ros.outputs.output import TrackedImage
from tam_ros.ros.outputs.spatial import BOXES, NAMES, Frames, Markers
from tam_ros.spatial import CLOUD_TYPE, Location
from tam_ros.tracking import Prompt

HEADER = Header(frame_id='camera_optical')


# --- clouds ---


POINTS = np.array(
    [(0.5, -1.5, 2.0, 0.0, 7), (1.0, 2.0, 3.0, 1e-40, 65535), (-1, -2, 9, 0.25, 1)], CLOUD_TYPE
)


def test_the_layout(monkeypatch):
    monkeypatch.setattr(spatial, 'create_cloud', spatial.create_row)
    cloud = spatial.cloud_message(POINTS, HEADER)
    assert cloud.header == HEADER
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 3, 20, 60)
    assert [(item.name, item.offset, item.datatype, item.count) for item in cloud.fields] == [
        ('x', 0, PointField.FLOAT32, 1),
        ('y', 4, PointField.FLOAT32, 1),
        ('z', 8, PointField.FLOAT32, 1),
        ('rgb', 12, PointField.FLOAT32, 1),
        ('label', 16, PointField.UINT32, 1),
    ]
    assert (np.frombuffer(cloud.data, CLOUD_TYPE) == POINTS).all()


def test_a_cloud_without_points():
    cloud = spatial.cloud_message(POINTS[:0], HEADER)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 0, 20, 0)
    assert not len(cloud.data)
    assert len(cloud.fields) == 5


def test_the_same_as_sensor_msgs_py():
    point_cloud2 = pytest.importorskip(
        'sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed'
    )
    assert spatial.create_cloud is point_cloud2.create_cloud, 'it is used where it is installed'
    theirs = spatial.cloud_message(POINTS, HEADER)
    assert theirs == spatial.create_row(HEADER, list(spatial.FIELDS), POINTS)
    read = point_cloud2.read_points(theirs)
    assert (read['label'] == POINTS['label']).all()
    assert (read['z'] == POINTS['z']).all()


# --- markers and frames ---

HERE = Location(
    position=np.array([0.1, 0.2, 2.0]),
    lower=np.array([0.0, 0.1, 2.0]),
    upper=np.array([0.4, 0.3, 2.0]),
    covariance=np.eye(3),
    points=9,
)


def result(locations, names=None):
    """Return the result of an image with the objects 1 and 2."""
    prompts = [Prompt.points(1, [(12, 12)], [1]), Prompt.points(2, [(50, 40)], [1])]
    image = picture(red=(10, 10), blue=(45, 33))
    made = TrackedImage(ColourTracker().step(image, 1.0, prompts), names or {}, HEADER, image)
    made.locations = locations
    return made


def test_a_box_and_a_name():
    box, name = (
        make_output(Markers, image_timeout=1.5).message(result({2: HERE}, {2: 'mug'})).markers
    )
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
    markers = make_output(Markers)
    assert len(markers.message(result({1: HERE, 2: HERE})).markers) == 4
    message = markers.message(result({2: HERE})).markers
    gone = [(item.ns, item.id) for item in message if item.action == Marker.DELETE]
    assert gone == [(BOXES, 1), (NAMES, 1)]
    assert {item.id for item in message if item.action == Marker.ADD} == {2}
    assert len(markers.message(result({2: HERE})).markers) == 2
    assert {item.action for item in markers.message(result({})).markers} == {Marker.DELETE}
    assert markers.message(result({})) is None


def test_a_frame_for_each_object():
    frames = make_output(Frames)
    assert frames.message(result({2: HERE})) is None, 'publish_tf is false'
    (frame,) = spatial.transforms(result({2: HERE}), 'cam/track_node/object_')
    assert frame.header == HEADER
    assert frame.child_frame_id == 'cam/track_node/object_2'
    shift = frame.transform.translation
    assert (shift.x, shift.y, shift.z) == (0.1, 0.2, 2.0), 'the median, not the middle of the box'
    assert frame.transform.rotation.w == 1
