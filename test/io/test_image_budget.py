# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images that announce more pixels than the budget are refused before they are decoded."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from tam_ros.io import compressed_images
from tam_ros.io.depth_messages import message_to_depth
from tam_ros.io.encodings import image_to_mask
from tam_ros.io.image_data import MAX_PIXELS, ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.io.image_header import picture_size
from tam_ros.io.mask_files import MaskFileError, read_masks

SIDE = 12000
TOO_LARGE = 'too large: the limit is 40000000 pixels'


def png(side=SIDE):
    """Return the beginning of a PNG that announces a large picture."""
    chunk = b'IHDR' + struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    crc = struct.pack('>I', zlib.crc32(chunk))
    end = b'\0\0\0\0IEND' + struct.pack('>I', zlib.crc32(b'IEND'))
    return (
        b'\x89PNG\r\n\x1a\n'
        + struct.pack('>I', 13)
        + chunk
        + crc
        + b'\0\0\0\0IDAT\x35\xaf\x06\x1e'
        + end
    )


def jpeg(side=SIDE):
    """Return a JPEG whose frame header announces a large picture; bytes precede a marker."""
    data = cv2.imencode('.jpg', np.zeros((8, 16, 3), np.uint8))[1].tobytes()
    at = data.index(b'\xff\xc0')
    size = struct.pack('>HH', side, side)
    return data[:at] + b'\0\xff\0\xff' + data[at : at + 5] + size + data[at + 9 :]


@pytest.fixture
def no_decoder(monkeypatch):
    """Fail if an image is decoded."""
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: pytest.fail('the image was decoded'))
    monkeypatch.setattr(compressed_images, '_with_end', lambda *args: pytest.fail('decoded'))


@pytest.mark.parametrize('data', [png(), jpeg()], ids=['png', 'jpeg'])
def test_large_pictures_are_refused_by_their_header(no_decoder, data):
    message = CompressedImage(format='jpeg', data=data)
    with pytest.raises(ImageFormatError, match=TOO_LARGE):
        ImageDecoder().message(message)


@pytest.mark.parametrize(
    ('image_format', 'data'),
    [
        ('16UC1; compressedDepth png', bytes(12) + png()),
        ('16UC1; png compressed ', png()),
        ('16UC1; compressedDepth rvl', bytes(12) + struct.pack('<ii', SIDE, SIDE)),
    ],
)
def test_large_depth_images_are_refused_by_their_header(no_decoder, image_format, data):
    with pytest.raises(ImageFormatError, match=TOO_LARGE):
        message_to_depth(CompressedImage(format=image_format, data=data))


@pytest.mark.parametrize('read', [ImageDecoder().message, image_to_mask])
def test_large_raw_images_are_refused(read):
    with pytest.raises(ImageFormatError, match=TOO_LARGE):
        read(Image(encoding='mono8', height=SIDE, width=SIDE, step=SIDE))


@pytest.mark.parametrize('data', [png(), jpeg()], ids=['png', 'jpeg'])
def test_large_files_are_refused(no_decoder, tmp_path, data):
    path = tmp_path / 'image.png'
    path.write_bytes(data)
    with pytest.raises(MaskFileError, match=TOO_LARGE):
        read_masks(path)
    with pytest.raises(ImageFormatError, match=TOO_LARGE):
        ImageDecoder().file(path)


@pytest.mark.parametrize('suffix', ['.bmp', '.tiff', '.webp', '.ppm', '.hdr'])
def test_messages_hold_jpeg_or_png_only(no_decoder, suffix):
    data = cv2.imencode(suffix, np.zeros((8, 16, 3), np.float32 if suffix == '.hdr' else np.uint8))
    with pytest.raises(ImageFormatError, match='send JPEG or PNG'):
        ImageDecoder().message(CompressedImage(format='jpeg', data=data[1].tobytes()))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.tiff', '.webp'])
def test_the_size_of_each_kind_of_file_is_read(tmp_path, suffix):
    path = tmp_path / f'image{suffix}'
    cv2.imwrite(str(path), np.zeros((8, 16, 3), np.uint8))
    assert picture_size(np.fromfile(path, np.uint8)) == (8, 16)
    assert ImageDecoder().file(path).shape == (8, 16, 3)


@pytest.mark.parametrize('make', [png, jpeg])
def test_a_header_that_is_cut_anywhere_is_refused_in_words(make):
    data = make(8)
    for length in range(1, data.index(b'IDAT' if make is png else b'\xff\xda')):
        with pytest.raises(ImageFormatError):
            ImageDecoder().message(CompressedImage(format='x', data=data[:length]))


def test_the_budget_holds_the_images_of_cameras():
    assert MAX_PIXELS >= 7680 * 4320


@pytest.mark.parametrize(
    ('read', 'message'),
    [
        (image_to_mask, Image(encoding='mono8', height=10, width=8, step=8, data=bytes(80))),
        (message_to_depth, Image(encoding='16UC1', height=10, width=8, step=16, data=bytes(160))),
        (
            message_to_depth,
            CompressedImage(
                format='16UC1; compressedDepth png',
                data=bytes(12) + cv2.imencode('.png', np.zeros((10, 8), np.uint16))[1].tobytes(),
            ),
        ),
    ],
)
def test_another_budget_of_masks_and_depth(read, message):
    assert read(message, max_pixels=80).shape == (10, 8)
    with pytest.raises(ImageFormatError, match='of 8x10 pixels is too large: the limit is 79'):
        read(message, max_pixels=79)


@pytest.mark.parametrize('kind', ['raw', 'nv12', 'jpeg'])
def test_another_budget_of_pictures(kind):
    if kind == 'jpeg':
        data = cv2.imencode('.jpg', np.zeros((10, 8, 3), np.uint8))[1].tobytes()
        message = CompressedImage(format='jpeg', data=data)
    elif kind == 'nv12':
        message = Image(encoding='nv12', height=10, width=8, step=8, data=bytes(120))
    else:
        message = Image(encoding='rgb8', height=10, width=8, step=24, data=bytes(240))
    assert ImageDecoder(max_pixels=80).message(message).shape == (10, 8, 3)
    with pytest.raises(ImageFormatError, match='of 8x10 pixels is too large: the limit is 79'):
        ImageDecoder(max_pixels=79).message(message)
