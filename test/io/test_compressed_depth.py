# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Compressed depth: PNG and RVL, of 16UC1 and 32FC1, and data that is damaged."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tam_ros.interfaces import COMPRESSED_IMAGE_TYPE
from tam_ros.io.bag_source import ImageTopic
from tam_ros.io.compressed_images import decode_picture, is_depth_format
from tam_ros.io.depth_messages import message_to_depth
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.rvl import decode_rvl


def encode_rvl(depth: np.ndarray) -> bytes:
    """Encode as Wilson (2017) describes it, one number after the other."""
    groups: list[int] = []

    def put(number: int) -> None:
        while number > 7:
            groups.append(8 | number & 7)
            number >>= 3
        groups.append(number)

    pixels = depth.reshape(-1).tolist()
    at = previous = 0
    while at < len(pixels):
        for is_filled in (False, True):
            begin = at
            while at < len(pixels) and (pixels[at] != 0) == is_filled:
                at += 1
            put(at - begin)
        for value in pixels[begin:at]:
            step = value - previous
            put(2 * step if step >= 0 else -2 * step - 1)
            previous = value
    groups += [0] * (-len(groups) % 8)
    words = (groups[index : index + 8] for index in range(0, len(groups), 8))
    return b''.join(
        sum(group << 28 - 4 * place for place, group in enumerate(word)).to_bytes(4, 'little')
        for word in words
    )


def surface(shape: tuple[int, int] = (24, 32)) -> np.ndarray:
    """A slope with holes, uint16 millimetres."""
    rows, columns = np.indices(shape)
    depth = (800 + 7 * columns + 3 * rows + (columns * rows) % 5).astype(np.uint16)
    depth[5:9, 10:20] = 0
    depth[rows + 2 * columns < 9] = 0
    return depth


@pytest.mark.parametrize(
    'depth',
    [
        pytest.param(surface(), id='a slope with holes'),
        pytest.param(np.zeros((4, 5), np.uint16), id='nothing measured'),
        pytest.param(np.full((4, 5), 65535, np.uint16), id='the highest value'),
        pytest.param(np.arange(1, 31, dtype=np.uint16).reshape(5, 6), id='no hole'),
        pytest.param(np.eye(7, dtype=np.uint16) * 40000, id='single pixels'),
        pytest.param(
            np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16), id='noise'
        ),
    ],
)
def test_rvl_is_lossless(depth):
    raw = np.frombuffer(encode_rvl(depth), np.uint8)
    assert (decode_rvl(raw, depth.size) == depth.reshape(-1)).all()


def test_rvl_of_a_known_image():
    """By hand: no zeros, 2 pixels, +3 as 6, -1 as 1, then 1 zero, no pixel."""
    raw = np.frombuffer(struct.pack('<I', 0x02611000), np.uint8)
    assert decode_rvl(raw, 3).tolist() == [3, 2, 0]


def test_damaged_rvl_is_refused():
    raw = np.frombuffer(encode_rvl(surface()), np.uint8)
    for size in range(0, raw.size - 4, 24):
        with pytest.raises(ImageFormatError, match='cut short|damaged'):
            decode_rvl(raw[:size], surface().size)
    with pytest.raises(ImageFormatError, match='damaged'):
        decode_rvl(raw, surface().size - 5)
    with pytest.raises(ImageFormatError, match='more than 32 bits'):
        decode_rvl(np.frombuffer(b'\xff' * 400 + bytes(8), np.uint8), 100)


# --- messages ---

A, B = 100.0, 2.0  # of a quantisation: a value is A / metres + B


def png(values: np.ndarray) -> bytes:
    return cv2.imencode('.png', values)[1].tobytes()


def rvl(values: np.ndarray) -> bytes:
    return struct.pack('<ii', values.shape[1], values.shape[0]) + encode_rvl(values)


def sent(image_format: str, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(format=image_format, data=data)


@pytest.mark.parametrize(
    ('image_format', 'data'),
    [
        pytest.param('16UC1; compressedDepth png', bytes(12) + png(surface()), id='PNG'),
        pytest.param('16UC1; compressedDepth', bytes(12) + png(surface()), id='of older senders'),
        pytest.param('16UC1; compressedDepth png', png(surface()), id='without the header'),
        pytest.param('16UC1; png', bytes(12) + png(surface()), id='a header, but no name'),
        pytest.param('16UC1; compressedDepth rvl', bytes(12) + rvl(surface()), id='RVL'),
        pytest.param('16UC1; png compressed ', png(surface()), id='compressed as PNG'),
        pytest.param('png', png(surface()), id='a PNG of 16 bits'),
    ],
)
def test_millimetres(image_format, data):
    depth = message_to_depth(sent(image_format, data))
    assert depth.dtype == np.uint16
    assert (depth == surface()).all()


@pytest.mark.parametrize('coded', [png, rvl])
def test_metres(coded):
    metres = np.where(surface() == 0, np.nan, surface() / 1000)
    values = np.nan_to_num(A / metres + B).astype(np.uint16)
    data = struct.pack('<iff', 1, A, B) + coded(values)
    name = f'32FC1; compressedDepth {coded.__name__}'
    depth = message_to_depth(sent(name, data))
    assert depth.dtype == np.float32
    assert (np.isnan(depth) == (surface() == 0)).all()
    assert np.nanmax(np.abs(depth - metres)) < 0.02


@pytest.mark.parametrize(
    ('image_format', 'data', 'words'),
    [
        ('16UC1; compressedDepth png', b'', 'no data'),
        ('16UC1; compressedDepth png', bytes(12), 'no data'),
        ('16UC1; compressedDepth png', bytes(12) + png(surface())[:50], 'not in a known image'),
        ('16UC1; compressedDepth rvl', bytes(16), 'cut short'),
        ('16UC1; compressedDepth rvl', bytes(12) + rvl(surface())[:40], 'cut short'),
        ('16UC1; compressedDepth rvl', bytes(12) + b'\xff' * 100, 'empty|limit'),
        (
            '16UC1; jpeg compressed ',
            cv2.imencode('.jpg', (surface() // 8).astype(np.uint8))[1].tobytes(),
            'a JPEG cannot hold depth',
        ),
        ('jpeg', png(surface().astype(np.uint8)), 'use the transport compressedDepth'),
    ],
)
def test_what_is_no_depth_is_refused(image_format, data, words):
    with pytest.raises(ImageFormatError, match=words):
        message_to_depth(sent(image_format, data))


@pytest.mark.parametrize(
    ('image_format', 'is_depth'),
    [
        ('16UC1; compressedDepth png', True),
        ('32FC1; compressedDepth rvl', True),
        ('16UC1; png compressed ', True),
        ('16UC1; jpeg compressed ', True),
        ('32FC1; tiff compressed ', True),
        ('rgb8; jpeg compressed bgr8', False),
        ('mono16; png compressed ', False),
        ('jpeg', False),
        ('', False),
    ],
)
def test_depth_is_no_picture(image_format, is_depth):
    assert is_depth_format(image_format) == is_depth
    raw = np.frombuffer(png(surface()), np.uint8)
    if is_depth:
        with pytest.raises(ImageFormatError, match='is for depth, not colour'):
            decode_picture(raw, image_format)
    else:
        assert decode_picture(raw, image_format).shape == (24, 32, 3)


@pytest.mark.parametrize(
    ('name', 'image_format', 'is_colour'),
    [
        ('/color/compressed', 'rgb8; jpeg compressed bgr8', True),
        ('/depth/compressed', '16UC1; jpeg compressed ', False),
        ('/depth/compressedDepth', '16UC1; compressedDepth rvl', False),
        ('/depth/compressedDepth', 'png', False),
    ],
)
def test_depth_in_a_bag_is_not_offered_as_pictures(name, image_format, is_colour):
    assert ImageTopic(name, COMPRESSED_IMAGE_TYPE, 1, image_format).is_colour == is_colour
