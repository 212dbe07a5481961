# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Results to messages."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')

from fake_tracker import ColourTracker  # noqa: E402
from ros_graph import SIZE, picture  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from tam_ros.msg import TrackedObject  # noqa: E402
from tam_ros.ros.messages import (  # noqa: E402
    compressed_labels_message,
    decode_mask,
    labels_message,
    objects_message,
)
from tam_ros.ros.result import Result  # noqa: E402
from tam_ros.spatial import Place  # noqa: E402
from tam_ros.tracking import FrameResult, Prompt  # noqa: E402


def follow(*places):
    """Return the frame of a tracker that follows the squares at these pixels."""
    image = picture(red=(10, 10), blue=(45, 33))
    prompts = [Prompt.points(number, [place], [1]) for number, place in places]
    return ColourTracker().step(image, 1.0, prompts)


def test_objects_come_in_the_order_of_their_ids():
    message = objects_message(follow((9, (12, 12)), (2, (50, 40))), Header(), {9: 'mug'}, False)
    assert [(item.id, item.name) for item in message.objects] == [(2, ''), (9, 'mug')]
    assert (message.height, message.width) == SIZE


def test_places_of_objects():
    covariance = np.arange(9.0).reshape(3, 3)
    place = Place(np.array([1, 2, 3]), np.zeros(3), np.array([4, 5, 6]), covariance, 70_000)
    frame = follow((1, (12, 12)), (2, (50, 40)))
    there, nowhere = objects_message(frame, Header(), {}, False, {1: place}).objects
    assert (there.position.x, there.position.y, there.position.z) == (1, 2, 3)
    assert (there.extent.x, there.extent.y, there.extent.z) == (4, 5, 6)
    assert list(there.position_covariance) == list(range(9))
    assert there.position_points == 70_000
    assert nowhere.position_points == 0
    unknown = nowhere.position, nowhere.extent
    assert np.isnan([[item.x, item.y, item.z] for item in unknown]).all()
    assert np.isnan(nowhere.position_covariance).all()


def test_masks_survive_packing_at_the_edge_of_the_image():
    frame = follow((1, (12, 12)))
    image_edge = np.zeros(SIZE, bool)
    image_edge[-3:, -5:] = True
    image_edge[-2, -4] = False
    item = frame.objects[0]
    object.__setattr__(item, 'mask', image_edge)
    object.__setattr__(item, 'box', (SIZE[1] - 5, SIZE[0] - 3, SIZE[1], SIZE[0]))
    entry = objects_message(frame, Header(), {}, True).objects[0]
    assert (decode_mask(entry, *SIZE) == image_edge).all()


def test_a_mask_that_was_not_sent_cannot_be_read():
    entry = objects_message(follow((1, (12, 12))), Header(), {}, False).objects[0]
    with pytest.raises(ValueError, match='publish_masks'):
        decode_mask(entry, *SIZE)
    assert not decode_mask(TrackedObject(), *SIZE).any(), 'no pixel of it is seen'


# Each row: the largest id, and what the label image must be.
@pytest.mark.parametrize(
    ('largest', 'encoding', 'dtype'),
    [
        pytest.param(0, 'mono8', np.uint8, id='background only'),
        pytest.param(255, 'mono8', np.uint8, id='largest that fits a byte'),
        pytest.param(256, '16UC1', np.uint16, id='one more'),
        pytest.param(65535, '16UC1', np.uint16, id='largest of all'),
    ],
)
def test_label_images(largest, encoding, dtype):
    labels = np.zeros((3, 5), np.uint16)
    labels[1, 2] = largest
    pixels = Result(FrameResult(0.0, 0, labels, [], {}), {}, Header(), None).pixels
    message = labels_message(pixels, Header(frame_id='camera'))
    assert (message.encoding, message.header.frame_id) == (encoding, 'camera')
    assert message.step == 5 * np.dtype(dtype).itemsize
    assert (np.frombuffer(message.data, dtype).reshape(3, 5) == labels).all()

    packed = compressed_labels_message(pixels, Header(frame_id='camera'))
    assert (packed.format, packed.header.frame_id) == (f'{encoding}; png compressed ', 'camera')
    data = np.frombuffer(packed.data, np.uint8)
    assert (cv2.imdecode(data, cv2.IMREAD_UNCHANGED) == pixels).all()
    assert data.size and cv2.imdecode(data, cv2.IMREAD_UNCHANGED).dtype == dtype
