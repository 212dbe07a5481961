# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labelled clouds as messages, with and without sensor_msgs_py."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')

from sensor_msgs.msg import PointField  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from tam_ros.ros import clouds  # noqa: E402
from tam_ros.spatial import CLOUD_TYPE  # noqa: E402

POINTS = np.array(
    [(0.5, -1.5, 2.0, 0.0, 7), (1.0, 2.0, 3.0, 1e-40, 65535), (-1, -2, 9, 0.25, 1)], CLOUD_TYPE
)
HEADER = Header(frame_id='camera_optical')


def test_the_layout(monkeypatch):
    monkeypatch.setattr(clouds, 'create_cloud', clouds.create_row)
    cloud = clouds.cloud_message(POINTS, HEADER)
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
    cloud = clouds.cloud_message(POINTS[:0], HEADER)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 0, 20, 0)
    assert not len(cloud.data)
    assert len(cloud.fields) == 5


def test_the_same_as_sensor_msgs_py():
    point_cloud2 = pytest.importorskip(
        'sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed'
    )
    assert clouds.create_cloud is point_cloud2.create_cloud, 'it is used where it is installed'
    theirs = clouds.cloud_message(POINTS, HEADER)
    assert theirs == clouds.create_row(HEADER, list(clouds.FIELDS), POINTS)
    read = point_cloud2.read_points(theirs)
    assert (read['label'] == POINTS['label']).all()
    assert (read['z'] == POINTS['z']).all()
