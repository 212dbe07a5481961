# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Points to pixels, with given calibration and transforms."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Point, PointStamped, Quaternion
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from tam_ros.prompting.published_images import PublishedImage
from tam_ros.ros.geometry import transforms
from tam_ros.ros.geometry.calibration import Calibration, is_rectified
from tam_ros.ros.geometry.points import pixel_of
from tam_ros.ros.parameters import Parameters
from tam_ros.spatial import CameraError
from tam_ros.tracking import PromptError

IMAGE = PublishedImage(stamp_ns=7, frame_id='optical', size=(480, 640), objects={})


def camera_info(**changed):
    info = CameraInfo(width=640, height=480, distortion_model='plumb_bob')
    info.k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    info.p = [400.0, 0.0, 320.0, 0.0, 0.0, 400.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.d = [-0.3, 0.02, 0.0, 0.0, 0.0]
    for name, value in changed.items():
        setattr(info, name, value)
    return info


class Node:
    """The part of a node that the calibration uses."""

    def __init__(self, image='/camera/image_raw'):
        self.image = image

    def resolve_topic_name(self, name):
        return self.image if name == 'image' else f'/{name}'

    def create_subscription(self, kind, topic, callback, qos):
        self.send = callback

    def create_timer(self, period, callback, clock):
        pass


def parameters(rectified='auto'):
    return SimpleNamespace(current=Parameters(rectified=rectified))


@pytest.fixture
def calibration():
    node = Node()
    made = Calibration(node, parameters())
    node.send(camera_info())
    return made


class Behind:
    """Transforms of a frame that looks like the camera, one metre behind it."""

    def look_up(self, target, source, stamp_ns):
        assert (target, stamp_ns) == ('optical', IMAGE.stamp_ns), 'as the image was taken'
        if source != 'base':
            raise transforms.TransformError(f'no transform from {source!r}')
        return np.eye(3), np.array([0, 0, -1.0])


def at(x, y, z, frame_id='optical'):
    return PointStamped(header=Header(frame_id=frame_id), point=Point(x=x, y=y, z=z))


def test_distortion_is_taken_into_account(calibration):
    """0.5 to the side is at radius 0.5 (1 - 0.3 * 0.25 + 0.02 * 0.0625)."""
    x, y = pixel_of(at(1.0, 0.0, 2.0), IMAGE, calibration, Behind())
    assert (x, y) == pytest.approx((320 + 500 * 0.5 * (1 - 0.075 + 0.00125), 240))


def test_a_point_of_another_frame_is_where_it_was_on_the_image(calibration):
    x, y = pixel_of(at(0.0, 0.1, 2.0, 'base'), IMAGE, calibration, Behind())
    assert y > 240
    assert (x, y) == pytest.approx(
        pixel_of(at(0.0, 0.1, 1.0), IMAGE, calibration, Behind()), abs=1e-9
    )


def test_a_pixel_with_a_header_needs_no_calibration():
    assert pixel_of(at(700.0, 3.0, 0.0), IMAGE, Calibration(Node(), parameters()), Behind()) == (
        700,
        3,
    )


# Each row: a point, and what the refusal must say.
@pytest.mark.parametrize(
    ('point', 'words'),
    [
        pytest.param(at(math.nan, 0.0, 1.0), 'not finite', id='not a number'),
        pytest.param(at(0.0, 0.0, 1.0, ''), 'no frame_id', id='no frame'),
        pytest.param(at(0.0, 0.0, -1.0), 'not in front of the camera', id='behind the camera'),
        pytest.param(at(0.0, 0.0, 0.5, 'base'), 'not in front', id='behind, after the transform'),
        pytest.param(at(1.8, 0.0, 2.0), 'outside the image of 640x480', id='beside the image'),
        pytest.param(at(9.0, 0.0, 2.0), 'not in front', id='beyond what the lens sees'),
        pytest.param(at(0.0, 0.0, 1.0, 'moon'), "no transform from 'moon'", id='unknown frame'),
    ],
)
def test_points_that_are_not_in_the_image(calibration, point, words):
    with pytest.raises(PromptError, match=words):
        pixel_of(point, IMAGE, calibration, Behind())


def test_images_without_a_frame_have_no_place_in_space(calibration):
    image = PublishedImage(7, '', (480, 640), {})
    with pytest.raises(PromptError, match='the driver must set it'):
        pixel_of(at(0.0, 0.0, 1.0, 'base'), image, calibration, Behind())


# Each row: the parameter, the image topic, whether P describes it.
@pytest.mark.parametrize(
    ('choice', 'topic', 'expected'),
    [
        pytest.param('auto', '/camera/image_raw', False, id='raw'),
        pytest.param('auto', '/camera/image_rect', True, id='image_proc'),
        pytest.param('auto', '/camera/image_rect_color', True, id='image_proc in colour'),
        pytest.param('auto', '/zed/rgb/color/rect/image', True, id='a folder of its own'),
        pytest.param('auto', '/rectory/image_corrected', False, id='part of another word'),
        pytest.param('raw', '/camera/image_rect', False, id='set to raw'),
        pytest.param('rectified', '/camera/image_raw', True, id='set to rectified'),
    ],
)
def test_whether_images_are_rectified(choice, topic, expected):
    assert is_rectified(choice, topic) == expected
    node = Node(topic)
    calibration = Calibration(node, parameters(choice))
    node.send(camera_info())
    assert (calibration.camera(480, 640).matrix[0, 0] == 400) == expected


def test_the_camera_is_made_once_and_again_when_it_changes():
    node, live = Node(), parameters()
    calibration = Calibration(node, live)
    assert not calibration.known
    with pytest.raises(CameraError, match='no camera info has arrived on /camera_info'):
        calibration.camera(480, 640)
    node.send(camera_info())
    first = calibration.camera(480, 640)
    node.send(camera_info(header=Header(frame_id='later')))
    assert calibration.camera(480, 640) is first
    node.send(camera_info(d=[0.0] * 5))
    assert calibration.camera(480, 640).distortion == ()
    live.current = Parameters(rectified='rectified')
    assert calibration.camera(480, 640).matrix[0, 0] == 400, 'the parameter is live'
    with pytest.raises(CameraError, match='images of 640x480, but the tracked'):
        calibration.camera(240, 320)
    node.send(camera_info(k=[0.0] * 9))
    live.current = Parameters(rectified='raw')
    with pytest.raises(CameraError, match='not calibrated'):
        calibration.camera(480, 640)


def test_quaternions_are_rotations():
    half = math.sqrt(0.5)
    about_z = transforms._matrix(Quaternion(z=half, w=half))
    assert about_z @ (1, 0, 0) == pytest.approx([0, 1, 0])
    rng = np.random.default_rng(0)
    for x, y, z, w in rng.normal(size=(5, 4)):
        matrix = transforms._matrix(Quaternion(x=x, y=y, z=z, w=w))  # normalised or not
        axis, vector = np.array([x, y, z]), rng.normal(size=3)
        turned = 2 * np.cross(axis, np.cross(axis, vector) + w * vector)
        expected = vector + turned / (axis @ axis + w * w)
        assert matrix @ vector == pytest.approx(expected)
