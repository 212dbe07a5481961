# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""YUV images with separate colour: every order, padding, and the ways to give their size."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.io.encodings import decode
from tam_ros.io.image_data import ImageFormatError

HEIGHT, WIDTH = 24, 32
COLOURS = ((200, 80, 40), (30, 160, 220))


def picture() -> np.ndarray:
    """Two colours, side by side, so that each pixel of the colour planes has one of them."""
    rgb = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:, : WIDTH // 2], rgb[:, WIDTH // 2 :] = COLOURS
    return rgb


def planes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, U, V of the picture by BT.601 in video range, all of full size."""
    r, g, b = (picture()[..., index] / 255 for index in range(3))
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    u = 128 - 37.797 * r - 74.203 * g + 112.0 * b
    v = 128 + 112.0 * r - 93.786 * g - 18.214 * b
    return tuple(np.rint(plane).astype(np.uint8) for plane in (y, u, v))


def padded(rows: np.ndarray, step: int) -> bytes:
    return np.pad(rows, ((0, 0), (0, step - rows.shape[1]))).tobytes()


def stored(encoding: str, padding: int = 0) -> bytes:
    """Return the bytes of the picture; `padding` bytes follow each row of Y."""
    y, u, v = planes()
    step = WIDTH + padding
    across, down = {'nv16': (2, 1), 'nv61': (2, 1), 'nv24': (1, 1), 'nv42': (1, 1)}.get(
        encoding, (2, 2)
    )
    u, v = (plane[::down, ::across] for plane in (u, v))
    if encoding in ('nv21', 'nv61', 'nv42', 'yv12'):
        u, v = v, u
    if encoding.startswith('nv'):
        pairs = np.stack((u, v), -1).reshape(len(u), -1)
        return padded(y, step) + padded(pairs, step * 2 // across)
    return padded(y, step) + padded(u, step // 2) + padded(v, step // 2)


ENCODINGS = (
    *('nv12', 'nv21', 'i420', 'yuv420', 'yu12', 'yv12'),
    *('nv16', 'nv61', 'nv24', 'nv42', 'NV12', 'I420'),
)


@pytest.mark.parametrize('padding', [0, 16])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_the_colours_are_right(encoding, padding):
    data = stored(encoding.lower(), padding)
    rgb = decode(encoding, HEIGHT, WIDTH, WIDTH + padding, data)
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(rgb.astype(int) - picture()).max() <= 4


@pytest.mark.parametrize('encoding', ['nv12', 'i420'])
@pytest.mark.parametrize(
    ('height', 'step'),
    [
        pytest.param(HEIGHT * 3 // 2, WIDTH, id='the rows of all planes'),
        pytest.param(HEIGHT, WIDTH * 3 // 2, id='a step of all planes'),
    ],
)
def test_the_size_may_include_the_colour(encoding, height, step):
    rgb = decode(encoding, height, WIDTH, step, stored(encoding))
    assert np.abs(rgb.astype(int) - picture()).max() <= 4


@pytest.mark.parametrize(
    ('encoding', 'height', 'width', 'size', 'words'),
    [
        ('nv12', HEIGHT, WIDTH, HEIGHT * WIDTH * 3 // 2 - 1, 'do not fit an nv12 image'),
        ('nv12', HEIGHT, WIDTH, 0, 'do not fit'),
        ('nv12', 23, WIDTH, 23 * WIDTH * 3 // 2, '2x2 pixels, which does not divide 32x23'),
        ('nv24', HEIGHT, WIDTH, HEIGHT * WIDTH * 2, 'do not fit an nv24 image'),
        ('i420', 2**20, WIDTH, 12, 'limit'),
    ],
)
def test_sizes_that_do_not_fit(encoding, height, width, size, words):
    with pytest.raises(ImageFormatError, match=words):
        decode(encoding, height, width, width, bytes(size))
