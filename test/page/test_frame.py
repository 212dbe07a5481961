# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What browsers get of an image: JPEG, PNG, sizes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.page.frame import Frame
from tam_ros.page.protocol import unpack_frame
from tam_ros.ros.conversions import array_to_image

RGB = np.full((60, 80, 3), (200, 40, 90), np.uint8)
LABELS = np.zeros((60, 80), np.uint8)
LABELS[10:20, 30:50] = 7


def make(image, labels=LABELS, encoding='mono8', max_side=1280, objects=()):
    message = None if labels is None else array_to_image(labels, encoding, Header())
    decoder = ImageDecoder(lambda text: None)
    return Frame(5, '/track_node', 123, image, message, objects, decoder, 80, max_side)


def raw(rgb=RGB):
    return array_to_image(rgb, 'rgb8', Header())


def decode(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_a_raw_image_becomes_a_jpeg_and_its_labels_a_png():
    header, jpeg, png = unpack_frame(make(raw(), objects=[{'id': 7}]).message())
    assert (header['width'], header['height'], header['wide']) == (80, 60, False)
    assert (header['frame'], header['stamp'], header['tracked']) == (5, '123', True)
    assert header['objects'] == [{'id': 7}]
    assert jpeg.startswith(b'\xff\xd8')
    np.testing.assert_allclose(decode(jpeg)[..., ::-1], RGB, atol=6)
    np.testing.assert_array_equal(decode(png), LABELS)


@pytest.mark.parametrize('file_type', ['.jpg', '.png'])
def test_a_jpeg_of_the_camera_is_passed_through(file_type):
    data = cv2.imencode(file_type, RGB[..., ::-1])[1].tobytes()
    image = CompressedImage(format=file_type[1:], data=data)
    header, picture, _ = unpack_frame(make(image).message())
    assert (picture == data) == (file_type == '.jpg')
    assert picture.startswith(b'\xff\xd8')
    header, picture, labels = unpack_frame(make(image, labels=None).message())
    assert not header['tracked'] and labels == b''
    expected = (0, 0) if file_type == '.jpg' else (80, 60)
    assert (header['width'], header['height']) == expected, '0: that of the picture'


def test_large_images_are_reduced_and_prompts_keep_their_pixels():
    header, jpeg, png = unpack_frame(make(raw(), max_side=40).message())
    assert (header['width'], header['height']) == (80, 60)
    assert decode(jpeg).shape == (30, 40, 3)
    np.testing.assert_array_equal(decode(png), LABELS[::2, ::2])


def test_ids_above_255_have_two_bytes():
    labels = LABELS.astype(np.uint16) * 100
    header, _, png = unpack_frame(make(raw(), labels, '16UC1').message())
    blue, green, red = np.moveaxis(decode(png).astype(int), -1, 0)
    assert header['wide'] and not blue.any()
    np.testing.assert_array_equal(red + 256 * green, labels)


def test_the_message_is_made_once():
    frame = make(raw())
    assert frame.message() is frame.message()
    header, picture, labels = unpack_frame(frame.message_without_pictures())
    assert header['frame'] == 5 and picture == labels == b''


def test_an_image_that_cannot_be_read():
    with pytest.raises(ImageFormatError):
        make(CompressedImage(format='jpeg', data=b'nonsense')).message()
