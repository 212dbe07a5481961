# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image messages of rclpy to arrays: pictures, masks, label images and depth."""

from __future__ import annotations

import copy
import re
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from tam_ros.io import image_decoder
from tam_ros.io.depth_messages import message_to_depth
from tam_ros.io.encodings import image_to_labels, image_to_mask
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
MASK = np.arange(48).reshape(6, 8) % 5 == 0


def to_rgb(message):
    return ImageDecoder().message(message)


def image(pixels, encoding, step=None, **fields):
    """Build a message row by row, padding each row to `step`."""
    rows = [row.tobytes() for row in pixels]
    step = step or len(rows[0])
    return Image(
        encoding=encoding,
        height=len(rows),
        width=pixels.shape[1],
        step=step,
        data=b''.join(row.ljust(step, b'\xaa') for row in rows),
        **fields,
    )


@pytest.mark.parametrize(
    'message',
    [
        pytest.param(image(RGB, 'rgb8'), id='without padding'),
        pytest.param(image(RGB, 'rgb8', step=40), id='rows are padded'),
        pytest.param(image(RGB[..., ::-1], 'bgr8'), id='blue first'),
        pytest.param(
            image(np.dstack((RGB, RGB[..., :1])), 'rgba8', step=37), id='alpha, odd padding'
        ),
        pytest.param(
            image(np.dstack((RGB[..., ::-1], RGB[..., :1])), 'bgra8'), id='blue first, alpha'
        ),
        pytest.param(
            image((RGB.astype(np.uint16) << 8).astype('>u2'), 'rgb16', is_bigendian=1),
            id='16 bit, big endian',
        ),
    ],
)
def test_pictures_are_read_exactly(message):
    assert (to_rgb(message) == RGB).all()


def test_rgb8_is_not_copied():
    message = image(RGB, 'rgb8')
    assert np.shares_memory(to_rgb(message), np.frombuffer(message.data, np.uint8))


class Bridge:
    """The part of cv_bridge that is used; it knows one more encoding."""

    def imgmsg_to_cv2(self, message, encoding):
        assert encoding == 'rgb8'
        if message.encoding != 'bayer_rggb12':
            raise BridgeError(message.encoding)
        return RGB


class BridgeError(TypeError):
    """The exception of the bridge."""


@pytest.fixture
def cv_bridge(monkeypatch):
    module = ModuleType('cv_bridge')
    module.CvBridge = Bridge
    monkeypatch.setitem(sys.modules, 'cv_bridge', module)
    image_decoder._cv_bridge.cache_clear()
    yield
    image_decoder._cv_bridge.cache_clear()


def test_unknown_encodings_are_passed_to_cv_bridge(cv_bridge):
    assert to_rgb(image(RGB, 'bayer_rggb12')) is RGB
    assert (to_rgb(image(RGB, 'rgb8')) == RGB).all(), 'known ones are not'
    with pytest.raises(ImageFormatError, match='unknown image encoding'):
        to_rgb(image(RGB, 'nonsense'))


def test_a_lossless_compressed_picture_is_read_exactly():
    _, png = cv2.imencode('.png', RGB[..., ::-1])
    message = CompressedImage(format='rgb8; png compressed bgr8', data=png.tobytes())
    assert (to_rgb(message) == RGB).all()


def change(message, **fields):
    message = copy.copy(message)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


# Each row: an inconsistent message, and words of the error.
@pytest.mark.parametrize(
    ('message', 'words'),
    [
        pytest.param(image(RGB, 'xyz8'), "unknown image encoding 'xyz8'", id='unknown encoding'),
        pytest.param(
            image(RGB[..., 0].astype(np.float32), '32FC1'), 'measurements', id='metres, no picture'
        ),
        pytest.param(change(image(RGB, 'rgb8'), step=23), 'step is 23', id='step below a row'),
        pytest.param(change(image(RGB, 'rgb8'), data=b'12'), 'too short', id='data too short'),
        pytest.param(change(image(RGB, 'rgb8'), height=5), 'too long', id='data too long'),
        pytest.param(Image(encoding='rgb8'), 'empty', id='no size'),
        pytest.param(
            change(image(RGB, 'rgb8'), width=2**31, step=2**31), 'limit', id='enormous size'
        ),
        pytest.param(CompressedImage(format='jpeg'), 'no data', id='compressed, no data'),
        pytest.param(
            CompressedImage(format='jpeg', data=b'\xff\xd8 nonsense'), 'JPEG', id='cut JPEG'
        ),
        pytest.param(
            CompressedImage(format='png', data=b'nonsense'),
            'not in a known image format',
            id='no image',
        ),
        pytest.param(
            CompressedImage(format='16UC1; compressedDepth', data=b'1'), 'depth', id='depth'
        ),
    ],
)
def test_inconsistent_messages_are_refused(message, words):
    with pytest.raises(ImageFormatError, match=words):
        to_rgb(message)


BYTES = image(MASK.astype(np.uint8), 'mono8')


@pytest.mark.parametrize(
    'message',
    [
        pytest.param(image(MASK.astype(np.uint8), 'mono8'), id='mono8 of 0 and 1'),
        pytest.param(image(MASK.astype(np.uint8) * 255, '8UC1', step=11), id='8UC1 with padding'),
        pytest.param(image(MASK.astype(np.uint16), '16UC1'), id='16UC1 of 0 and 1'),
        pytest.param(image(MASK.astype('>u2'), 'mono16', is_bigendian=1), id='big endian'),
    ],
)
def test_masks_are_the_nonzero_pixels(message):
    assert (image_to_mask(message) == MASK).all()


@pytest.mark.parametrize(
    'message',
    [
        pytest.param(image(np.arange(48).reshape(6, 8).astype('u1'), 'mono8', step=9), id='mono8'),
        pytest.param(image(np.arange(48).reshape(6, 8).astype('<u2'), '16UC1'), id='16UC1'),
        pytest.param(
            image(np.arange(48).reshape(6, 8).astype('>i4'), '32SC1', is_bigendian=1),
            id='32SC1, big endian',
        ),
    ],
)
def test_label_images_keep_their_values(message):
    assert image_to_labels(message).tolist() == np.arange(48).reshape(6, 8).tolist()


# Each row: a message that is not a mask, and words of the error.
@pytest.mark.parametrize(
    ('message', 'words'),
    [
        pytest.param(image(RGB, 'rgb8'), "cannot have the encoding 'rgb8'", id='colour'),
        pytest.param(change(BYTES, step=7), 'is inconsistent', id='step below a row'),
        pytest.param(change(BYTES, data=b'1'), 'is inconsistent', id='data too short'),
    ],
)
def test_other_images_are_refused_as_masks(message, words):
    with pytest.raises(ImageFormatError, match=words):
        image_to_mask(message)


DEPTH_MM = np.arange(48, dtype=np.uint16).reshape(6, 8) * 300
DEPTH_M = np.where(DEPTH_MM % 900 == 0, np.nan, DEPTH_MM / 1000).astype(np.float32)


@pytest.mark.parametrize(
    'message',
    [
        pytest.param(image(DEPTH_MM, '16UC1'), id='millimetres'),
        pytest.param(image(DEPTH_MM, 'mono16'), id='millimetres, another name'),
        pytest.param(image(DEPTH_MM, '16UC1', step=20), id='padded rows'),
        pytest.param(image(DEPTH_MM.astype('>u2'), '16UC1', is_bigendian=1), id='big endian'),
        pytest.param(image(DEPTH_M, '32FC1'), id='metres'),
        pytest.param(
            image(DEPTH_M.astype('>f4'), '32FC1', is_bigendian=1), id='metres, big endian'
        ),
    ],
)
def test_depth_is_read_exactly(message):
    expected = DEPTH_M if message.encoding == '32FC1' else DEPTH_MM
    depth = message_to_depth(message)
    assert depth.dtype == expected.dtype
    assert np.array_equal(depth, expected, equal_nan=message.encoding == '32FC1')


def test_depth_is_not_copied():
    message = image(DEPTH_MM, '16UC1')
    assert np.shares_memory(message_to_depth(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        pytest.param(image(RGB, 'rgb8'), '16UC1 (millimetres) or 32FC1', id='a picture'),
        pytest.param(image(MASK, 'mono8'), '16UC1 (millimetres) or 32FC1', id='eight bits'),
        pytest.param(image(DEPTH_MM, '32FC1'), 'is inconsistent', id='half the data'),
    ],
)
def test_other_images_are_refused_as_depth(message, words):
    with pytest.raises(ImageFormatError, match=re.escape(words)):
        message_to_depth(message)
