# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Decoding image messages: every encoding, row padding, byte order, and malformed messages."""

import array

import cv2
import numpy as np
import pytest

from tam_ros.io.compressed_images import decode_picture
from tam_ros.io.encodings import SUPPORTED_ENCODINGS, decode
from tam_ros.io.image_data import MAX_SIDE, ImageFormatError
from tam_ros.io.yuv import ENCODINGS as PLANAR_ENCODINGS

HEIGHT, WIDTH = 24, 32


def picture() -> np.ndarray:
    """Return a gradient image in which a swapped channel or a shift changes the values."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 5 * x, 200 - 6 * y, 30 + 2 * x + 3 * y], axis=-1).astype(np.uint8)


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Sample `rgb` through a Bayer filter whose first two rows read `pattern`, such as 'rggb'."""
    raw = np.zeros(rgb.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        raw[row::2, column::2] = rgb[row::2, column::2, 'rgb'.index(colour)]
    return raw


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [
        ('rgb8', [0, 1, 2]),
        ('bgr8', [2, 1, 0]),
        ('8UC3', [2, 1, 0]),
        ('rgba8', [0, 1, 2, 0]),  # alpha, here a copy of red, must be dropped
        ('bgra8', [2, 1, 0, 0]),
        ('8UC4', [2, 1, 0, 0]),
    ],
)
@pytest.mark.parametrize('padding', [0, 7])
def test_colour_order_and_row_padding(encoding, order, padding):
    stored = picture()[:, :, order].reshape(HEIGHT, -1)
    stored = np.pad(stored, ((0, 0), (0, padding)), constant_values=255)
    rgb = decode(encoding, HEIGHT, WIDTH, stored.shape[1], stored.tobytes())
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, picture())


@pytest.mark.parametrize('encoding', ['rgb16', 'bgr16', 'rgba16', 'bgra16', 'mono16'])
@pytest.mark.parametrize('is_bigendian', [False, True])
def test_sixteen_bit_keeps_the_upper_byte(encoding, is_bigendian):
    order = {
        'rgb16': [0, 1, 2],
        'bgr16': [2, 1, 0],
        'rgba16': [0, 1, 2, 2],
        'bgra16': [2, 1, 0, 2],
    }
    channels = order.get(encoding, [1])
    wide = picture()[:, :, channels].astype(np.uint16) * 256 + 17
    stored = wide.astype('>u2' if is_bigendian else '<u2')
    step = WIDTH * len(channels) * 2
    rgb = decode(encoding, HEIGHT, WIDTH, step, stored.tobytes(), is_bigendian)
    expected = picture() if len(channels) > 1 else np.repeat(picture()[:, :, 1:2], 3, axis=2)
    np.testing.assert_array_equal(rgb, expected)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_three_equal_channels(encoding):
    grey = picture()[:, :, 0]
    rgb = decode(encoding, HEIGHT, WIDTH, WIDTH, grey.tobytes())
    np.testing.assert_array_equal(rgb, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_bayer_patterns(pattern, bits):
    raw = mosaic(picture(), pattern)
    stored = raw if bits == 8 else raw.astype('<u2') * 256
    rgb = decode(f'bayer_{pattern}{bits}', HEIGHT, WIDTH, WIDTH * bits // 8, stored.tobytes())
    # The picture is linear, which bilinear demosaicing reproduces away from the border.
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(rgb[inner].astype(int) - picture()[inner]).max() <= 2


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv')],
)
def test_yuv422(encoding, order):
    colour = np.array([200, 80, 40])
    # BT.601, video range, which is what these formats carry.
    luma = 16 + (65.481 * colour[0] + 128.553 * colour[1] + 24.966 * colour[2]) / 255
    blue = 128 + (-37.797 * colour[0] - 74.203 * colour[1] + 112.0 * colour[2]) / 255
    red = 128 + (112.0 * colour[0] - 93.786 * colour[1] - 18.214 * colour[2]) / 255
    samples = {'y': luma, 'u': blue, 'v': red}
    pair = [round(samples[letter]) for letter in order]
    stored = np.tile(np.array(pair, np.uint8), (HEIGHT, WIDTH // 2))
    rgb = decode(encoding, HEIGHT, WIDTH, 2 * WIDTH, stored.tobytes())
    assert np.abs(rgb.astype(int) - colour).max() <= 4


@pytest.mark.parametrize(
    'wrap',
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array.array('B', data),
        lambda data: np.frombuffer(data, np.uint8),
        list,
    ],
)
def test_every_kind_of_buffer(wrap):
    rgb = decode('rgb8', HEIGHT, WIDTH, 3 * WIDTH, wrap(picture().tobytes()))
    np.testing.assert_array_equal(rgb, picture())


class DeviceBuffer:
    """What `rosidl_buffer.Buffer` of ROS 2 Lyrical offers: no buffer protocol, no indexing."""

    backend_type = 'cuda'

    def __init__(self, data):
        self._data = data

    def __len__(self):
        return 96 * HEIGHT

    def to_bytes(self):
        if self._data is None:
            raise RuntimeError('the device is gone')
        return self._data


def test_image_data_on_a_device():
    """The `to_bytes` of an integer, for example, is another."""
    rgb = decode('rgb8', HEIGHT, WIDTH, 96, DeviceBuffer(picture().tobytes()))
    np.testing.assert_array_equal(rgb, picture())
    with pytest.raises(ImageFormatError, match="backend 'cuda'.*the device is gone"):
        decode('rgb8', HEIGHT, WIDTH, 96, DeviceBuffer(None))
    with pytest.raises(ImageFormatError, match='must be bytes, not int'):
        decode('rgb8', HEIGHT, WIDTH, 96, 7000)


def test_plain_rgb_is_not_copied():
    data = array.array('B', picture().tobytes())
    assert np.shares_memory(
        decode('rgb8', HEIGHT, WIDTH, 3 * WIDTH, data), np.frombuffer(data, 'u1')
    )


FULL = HEIGHT * WIDTH * 3


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (('rgb9', HEIGHT, WIDTH, 96, bytes(FULL)), 'unknown image encoding'),
        (('', HEIGHT, WIDTH, 96, bytes(FULL)), 'unknown image encoding'),
        (('16UC1', HEIGHT, WIDTH, 64, bytes(HEIGHT * 64)), 'measurements'),  # a depth topic
        (('32FC1', HEIGHT, WIDTH, 128, bytes(HEIGHT * 128)), 'measurements'),
        (('rgb8', 480, 640, 1920, bytes(30)), 'too short'),  # seen in a published test bag
        (('rgb8', HEIGHT, WIDTH, 96, bytes(FULL - 1)), 'too short'),
        (('rgb8', HEIGHT, WIDTH, 96, bytes(FULL + 1)), 'too long'),
        (('rgb8', HEIGHT, WIDTH, 96, b''), 'too short'),
        (('rgb8', HEIGHT, WIDTH, 95, bytes(HEIGHT * 95)), 'step'),  # rows would overlap
        (('rgb8', HEIGHT, WIDTH, 0, b''), 'step'),
        (('rgb8', HEIGHT, WIDTH, 1000, bytes(FULL)), 'too short'),  # step claims padding
        (('rgb8', 0, WIDTH, 96, b''), 'empty'),
        (('rgb8', HEIGHT, 0, 0, b''), 'empty'),
        (('rgb8', 2**31, WIDTH, 96, bytes(FULL)), 'limit'),  # a corrupt header, not an allocation
        (('mono8', 1, MAX_SIDE + 1, MAX_SIDE + 1, bytes(MAX_SIDE + 1)), 'limit'),
        (('yuv422', HEIGHT, 31, 62, bytes(HEIGHT * 62)), 'odd'),
        (('rgb8', HEIGHT, WIDTH, 96, 'text'), 'bytes'),
        (('rgb8', HEIGHT, WIDTH, 96, [0.5] * FULL), 'bytes'),
        (('rgb8', HEIGHT, WIDTH, 96, [300] * FULL), 'bytes'),
    ],
)
def test_malformed_image(fields, words):
    with pytest.raises(ImageFormatError, match=words):
        decode(*fields)


def test_every_supported_encoding_decodes():
    for encoding in set(SUPPORTED_ENCODINGS) - set(PLANAR_ENCODINGS):
        step = WIDTH * 8
        assert decode(encoding, HEIGHT, WIDTH, step, bytes(HEIGHT * step)).shape == (
            HEIGHT,
            WIDTH,
            3,
        )


def as_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def coded(extension: str) -> bytes:
    return cv2.imencode(extension, picture()[:, :, ::-1])[1].tobytes()


@pytest.mark.parametrize(
    ('image_format', 'extension', 'tolerance'),
    [
        ('png', '.png', 0),
        ('jpeg', '.jpg', 12),
        ('rgb8; jpeg compressed bgr8', '.jpg', 12),
        ('', '.png', 0),
    ],
)
def test_compressed(image_format, extension, tolerance):
    rgb = decode_picture(as_array(coded(extension)), image_format)
    assert np.abs(rgb.astype(int) - picture()).max() <= tolerance


PHOTO = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (160, 120))
JPEGS = {
    'baseline': [],
    'progressive': [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    'with restart markers': [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
}


@pytest.mark.parametrize('options', JPEGS.values(), ids=JPEGS)
def test_a_jpeg_without_its_end_marker(options):
    jpeg = cv2.imencode('.jpg', PHOTO, options)[1].tobytes()
    whole = decode_picture(as_array(jpeg))
    for data in (jpeg[:-2], jpeg[:-1], jpeg[:-2] + bytes(64), jpeg + bytes(64)):
        assert (decode_picture(as_array(data)) == whole).all()
    for cut in (40, 100, 200, 400, len(jpeg) // 2):
        for padding in (0, 1000):
            with pytest.raises(ImageFormatError, match='truncated'):
                decode_picture(as_array(jpeg[:-cut] + bytes(padding)))


@pytest.mark.parametrize(
    ('image_format', 'data', 'words'),
    [
        ('jpeg', b'', 'no data'),
        ('jpeg', b'not a picture', 'not in a known image format'),
        ('jpeg', coded('.jpg')[:-40], 'truncated'),  # OpenCV fills it with grey
        ('jpeg', coded('.jpg')[:60], 'truncated'),
        ('png', coded('.png')[:30], 'not in a known image format'),
        ('png', coded('.png')[:-100], 'truncated|not in a known image format'),
        ('16UC1; compressedDepth png', coded('.png'), 'depth'),
    ],
)
def test_malformed_compressed(image_format, data, words):
    with pytest.raises(ImageFormatError, match=words):
        decode_picture(as_array(data), image_format)
