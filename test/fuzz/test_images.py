# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image files, animations, masks, folders of images, and messages with images."""

from __future__ import annotations

import io
import logging
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies
from PIL import Image

from fuzz.mutations import OPERATIONS, VALUES, fuzzed, mutated, only
from tam_ros.io.depth_messages import message_to_depth
from tam_ros.io.encodings import SUPPORTED_ENCODINGS, image_to_labels
from tam_ros.io.frames import SourceError
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.io.mask_files import MaskFileError, read_masks
from tam_ros.io.open_source import open_source

PIXELS = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)


def picture(kind: str, mode: str = 'RGB', **options) -> bytes:
    file = io.BytesIO()
    if mode == 'I;16':
        image = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 200)
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(file, kind, **({'exif': exif} if kind in ('JPEG', 'PNG') else {}), **options)
    return file.getvalue()


def animation(kind: str) -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(np.roll(PIXELS, 3 * index, 1)) for index in range(3)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=40)
    return file.getvalue()


FILES = {
    'a.png': picture('PNG'),
    'b.png': picture('PNG', 'P'),
    'c.png': picture('PNG', 'I;16'),
    'd.jpg': picture('JPEG'),
    'e.bmp': picture('BMP'),
    'f.tif': picture('TIFF'),
    'g.tif': picture('TIFF', 'I;16', compression='tiff_lzw'),
    'h.webp': picture('WEBP'),
    'i.gif': animation('GIF'),
    'j.png': animation('PNG'),
    'k.webp': animation('WEBP'),
}


@pytest.fixture(autouse=True, scope='module')
def quiet():
    logging.getLogger('tam_ros').setLevel(logging.ERROR)
    yield
    logging.getLogger('tam_ros').setLevel(logging.NOTSET)


@pytest.mark.parametrize('name', FILES)
@fuzzed(20)
@given(operations=OPERATIONS)
def test_image_files(tmp_path, name, operations):
    folder = tmp_path
    (folder / name).write_bytes(mutated(FILES[name], operations))
    with only(MaskFileError, names=name):
        read_masks(folder / name)
    with only(SourceError, names=name):
        list(open_source(folder / name))
    if not name.endswith('gif'):
        with only(SourceError, names=name):
            list(open_source(folder))


class Message(SimpleNamespace):
    pass


NUMBERS = strategies.one_of(
    strategies.integers(0, 40), strategies.sampled_from([2**16, 2**31, 2**32 - 1, 16_385, 5000])
)


@fuzzed(200)
@given(
    encoding=strategies.one_of(
        strategies.sampled_from([*SUPPORTED_ENCODINGS, '16UC1', '32FC1', '32SC1', '', 'x' * 999]),
        strategies.text(max_size=9),
    ),
    sizes=strategies.tuples(NUMBERS, NUMBERS, NUMBERS),
    data=strategies.binary(max_size=400),
    is_bigendian=strategies.booleans(),
)
def test_raw_messages(encoding, sizes, data, is_bigendian):
    height, width, step = sizes
    message = Message(
        encoding=encoding,
        height=height,
        width=width,
        step=step,
        data=data,
        is_bigendian=int(is_bigendian),
    )
    for read in (ImageDecoder(lambda text: None).message, message_to_depth, image_to_labels):
        with only(ImageFormatError):
            read(message)


@fuzzed(100)
@given(
    encoding=strategies.sampled_from([*SUPPORTED_ENCODINGS, '16UC1', '32FC1']),
    size=strategies.tuples(strategies.integers(1, 12), strategies.integers(1, 12)),
    channels=strategies.sampled_from([1, 1.5, 2, 3, 4, 6, 8]),
    is_bigendian=strategies.booleans(),
)
def test_raw_messages_of_consistent_size(encoding, size, channels, is_bigendian):
    height, width = size
    step = round(width * channels)
    data = bytes(step * height)
    message = Message(encoding=encoding, height=height, width=width, step=step, data=data)
    message.is_bigendian = int(is_bigendian)
    for read in (ImageDecoder(lambda text: None).message, message_to_depth, image_to_labels):
        with only(ImageFormatError):
            read(message)


def rvl(words: bytes) -> bytes:
    return bytes(12) + struct.pack('<ii', 4, 3) + words


COMPRESSED = [
    ('jpeg', FILES['d.jpg']),
    ('rgb8; png compressed bgr8', FILES['a.png']),
    ('mono16; png compressed ', FILES['c.png']),
    ('16UC1; png compressed ', FILES['c.png']),
    ('16UC1; compressedDepth png', bytes(12) + FILES['c.png']),
    ('32FC1; compressedDepth png', struct.pack('<iff', 0, 100.0, 1.0) + FILES['c.png']),
    ('16UC1; compressedDepth rvl', rvl(bytes.fromhex('0123456789abcdef') * 3)),
]


@pytest.mark.parametrize(('image_format', 'data'), COMPRESSED, ids=[one for one, _ in COMPRESSED])
@fuzzed(40)
@given(operations=OPERATIONS)
def test_compressed_messages(image_format, data, operations):
    message = Message(format=image_format, data=mutated(data, operations))
    for read in (ImageDecoder(lambda text: None).message, message_to_depth):
        with only(ImageFormatError):
            read(message)


@fuzzed(60)
@given(image_format=strategies.text(max_size=30), data=VALUES)
def test_messages_with_other_types(image_format, data):
    for read in (ImageDecoder(lambda text: None).message, message_to_depth):
        with only(ImageFormatError):
            read(Message(format=image_format, data=data))
