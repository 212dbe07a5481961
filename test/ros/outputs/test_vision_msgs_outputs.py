# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results in messages of vision_msgs, or of a stand-in where it is not installed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from fake_node import make_output
from fakes.colour_tracker import ColourTracker, picture
from geometry_msgs.msg import Pose, PoseWithCovariance, Vector3
from std_msgs.msg import Header

from tam_ros.ros.outputs import vision_msgs_outputs
from tam_ros.ros.outputs.output import TrackedImage
from tam_ros.spatial import Location
from tam_ros.tracking import Prompt

HEADER = Header(frame_id='camera_optical')


def stand_in():
    """Return what is used of vision_msgs 4: the same names, nothing checked."""

    def kind(**defaults):
        return lambda **fields: SimpleNamespace(
            **{name: make() for name, make in defaults.items()} | fields
        )

    place = kind(position=SimpleNamespace)
    box = kind(center=place)
    box_3d = kind(center=Pose, size=Vector3)
    hypothesis = kind(hypothesis=SimpleNamespace, pose=PoseWithCovariance)
    return SimpleNamespace(
        Detection2DArray=kind(detections=list),
        Detection2D=kind(bbox=box, results=list),
        Detection3DArray=kind(detections=list),
        Detection3D=kind(bbox=box_3d, results=list),
        ObjectHypothesisWithPose=hypothesis,
        VisionClass=kind(),
        LabelInfo=kind(),
    )


@pytest.fixture(autouse=True)
def vision(monkeypatch):
    """The real package, or else the stand-in."""
    if vision_msgs_outputs.vision is None:
        monkeypatch.setattr(vision_msgs_outputs, 'vision', stand_in())
    return vision_msgs_outputs.vision


def result(names, *colours):
    """Return the result of an image whose objects were clicked in this order."""
    at = {'red': (12, 12), 'blue': (50, 40)}
    prompts = [Prompt.points(i + 1, [at[name]], [1]) for i, name in enumerate(colours)]
    tracker = ColourTracker()
    tracker.step(picture(red=(10, 10), blue=(45, 33)), 1.0, prompts)
    image = picture(red=(10, 10))  # the blue object is not visible
    return TrackedImage(tracker.step(image, 2.0), names, HEADER, image)


def test_detections_are_the_visible_objects():
    message = make_output(vision_msgs_outputs.Detections2D).message(
        result({1: 'mug'}, 'red', 'blue')
    )
    assert message.header == HEADER
    (detection,) = message.detections
    assert (detection.header, detection.id) == (HEADER, '1')
    # Pixels 10 to 19: ten of them, with the middle between 14 and 15.
    box = detection.bbox
    assert (box.center.position.x, box.center.position.y) == (14.5, 14.5)
    assert (box.size_x, box.size_y) == (10, 10)
    (hypothesis,) = detection.results
    assert hypothesis.hypothesis.class_id == 'mug'
    assert hypothesis.hypothesis.score == pytest.approx(0.9)
    nameless = make_output(vision_msgs_outputs.Detections2D).message(result({}, 'red'))
    assert nameless.detections[0].results[0].hypothesis.class_id == ''


def test_detections_in_3d_are_the_objects_with_a_position():
    output = make_output(vision_msgs_outputs.Detections3D)
    tracked = result({1: 'mug'}, 'red', 'blue')
    assert output.message(tracked) is None, 'no depth'

    tracked.depth = object()
    tracked.locations = {}
    message = output.message(tracked)
    assert (message.header, message.detections) == (HEADER, [])

    spread = np.array([[4e-4, 1e-5, 0.0], [1e-5, 9e-4, 0.0], [0.0, 0.0, 1e-4]])
    tracked.locations = {
        1: Location(
            position=np.array([0.1, 0.2, 2.0]),
            lower=np.array([0.0, 0.1, 1.9]),
            upper=np.array([0.4, 0.3, 2.2]),
            covariance=spread,
            points=9,
        )
    }
    (detection,) = output.message(tracked).detections
    assert (detection.header, detection.id) == (HEADER, '1')
    centre, size = detection.bbox.center, detection.bbox.size
    assert (centre.position.x, centre.position.y, centre.position.z) == pytest.approx(
        (0.2, 0.2, 2.05)
    )
    assert centre.orientation.w == 1
    assert (size.x, size.y, size.z) == pytest.approx((0.4, 0.2, 0.3))
    (hypothesis,) = detection.results
    assert hypothesis.hypothesis.class_id == 'mug'
    assert hypothesis.hypothesis.score == pytest.approx(0.9)
    at = hypothesis.pose.pose.position
    assert (at.x, at.y, at.z) == (0.1, 0.2, 2.0), 'the median, not the middle of the box'
    covariance = np.reshape(hypothesis.pose.covariance, (6, 6))
    np.testing.assert_array_equal(covariance[:3, :3], spread)
    assert (covariance[3:, 3:].diagonal() > 3).all(), 'the orientation is not known'
    assert not covariance[:3, 3:].any() and not covariance[3:, :3].any()


def test_label_info_is_published_when_it_changes():
    info = make_output(vision_msgs_outputs.LabelInfo)

    def published(names, *colours):
        message = info.message(result(names, *colours))
        if message is None:
            return None
        assert message.header == HEADER
        assert message.threshold == 0.5
        return {item.class_id: item.class_name for item in message.class_map}

    assert published({}) == {0: 'background'}
    assert published({}) is None
    assert published({1: 'mug'}, 'red', 'blue') == {0: 'background', 1: 'mug', 2: 'object 2'}, (
        'also objects that are not visible'
    )
    assert published({1: 'mug'}, 'red', 'blue') is None
    assert published({1: 'cup'}, 'red') == {0: 'background', 1: 'cup'}
