# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Images of more than eight bits: which values become black and white, and that it is steady."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.io.sample_range import SampleRange


def picture(high: int = 255) -> np.ndarray:
    """A grey picture of all values from 0 to `high`, uint8 [48, 64]."""
    return np.linspace(0, high, 48 * 64).astype(np.uint8).reshape(48, 64)


def converted(*images: np.ndarray, spread: bool = True) -> tuple[list[np.ndarray], list[str]]:
    said: list[str] = []
    levels = SampleRange(said.append)
    return [levels.to_8_bits(pixels, spread) for pixels in images], said


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_the_bits_that_are_used_are_kept(bits):
    wide = picture().astype(np.uint16) << (bits - 8)
    (found,), said = converted(wide)
    assert (found == picture()).all()
    assert len(said) == (bits != 16)
    assert all(f'{bits} bits' in text for text in said)


def test_the_brightness_does_not_follow_the_picture():
    """After a bright image, darker ones are converted in the same way, and nothing is said."""
    bright, dark = (picture(high).astype(np.uint16) << 4 for high in (255, 20))
    found, said = converted(bright, dark, bright, dark)
    assert [image.max() for image in found] == [255, 20, 255, 20]
    assert len(said) == 1


def test_the_range_grows():
    """After a dark beginning, as with the cap on the lens."""
    found, said = converted(*(picture(high).astype(np.uint16) << 4 for high in (0, 60, 255, 60)))
    assert [image.max() for image in found[2:]] == [255, 60]
    assert '12 bits' in said[-1]


def test_single_hot_and_dead_pixels_do_not_count():
    wide = picture().astype(np.uint16) << 2
    wide[5, 5], wide[9, 9] = 65535, 0
    (found,), _ = converted(wide)
    assert found[5, 5] == 255, 'limited, not wrapped'
    found[5, 5] = found[9, 9] = 0
    expected = picture()
    expected[5, 5] = expected[9, 9] = 0
    assert (found == expected).all()


def test_small_lights_count():
    """So that the image does not become darker when they come nearer."""
    dark = picture(60).astype(np.uint16) << 4
    dark[20:22, 30:33] = 4000
    (found,), _ = converted(dark)
    assert found[20, 31] == 250
    assert found[-1].max() == 60


def test_a_thermal_camera_uses_a_small_part_of_its_range():
    """Kelvin times 100, from 17 to 36 degrees Celsius."""
    kelvin = np.linspace(29000, 30900, 48 * 64).astype(np.uint16).reshape(48, 64)
    found, said = converted(kelvin, kelvin + 100)
    assert np.ptp(found[0].astype(int)) > 120
    change = found[1].astype(int) - found[0]
    assert change.min() > 5 and change.max() < 10, 'warmer is brighter'
    assert len(said) == 1
    assert '29' in said[0]


def test_colours_are_not_spread():
    warm = np.full((8, 8, 3), (900, 880, 860), np.uint16)
    (found,), _ = converted(warm, spread=False)
    assert found[0, 0].tolist() == [225, 220, 215]


@pytest.mark.parametrize(
    'pixels',
    [
        pytest.param(picture().astype(np.float32) / 255, id='0 to 1'),
        pytest.param(picture().astype(np.float64), id='0 to 255'),
        pytest.param(picture().astype(np.int32), id='32 bits'),
        pytest.param(picture().astype(np.uint32) << 8, id='16 of 32 bits'),
    ],
)
def test_other_types(pixels):
    (found,), _ = converted(pixels)
    assert np.abs(found.astype(int) - picture()).max() <= 1


def test_numbers_that_are_not_finite_are_black():
    pixels = picture().astype(np.float32)
    pixels[0, 0], pixels[0, 1] = np.nan, np.inf
    (found,), _ = converted(pixels)
    assert found[0, :2].tolist() == [0, 0]


# --- streams ---


def message(wide: np.ndarray, encoding: str, order: str = '<') -> Image:
    data = wide.astype(f'{order}u2')
    return Image(
        encoding=encoding,
        height=wide.shape[0],
        width=wide.shape[1],
        step=data.strides[0],
        is_bigendian=int(order == '>'),
        data=data.tobytes(),
    )


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('encoding', ['mono16', 'rgb16', 'bayer_rggb16'])
def test_messages_of_12_bits(encoding, order):
    grey = picture().astype(np.uint16) << 4
    wide = np.dstack([grey] * 3) if encoding == 'rgb16' else grey
    said: list[str] = []
    decoder = ImageDecoder(said.append)
    for _ in range(3):
        rgb = decoder.message(message(wide, encoding, order))
    assert np.abs(rgb[2:-2, 2:-2, 1].astype(int) - picture()[2:-2, 2:-2]).max() <= 2
    assert len(said) == 1


@pytest.mark.parametrize(
    ('suffix', 'dtype', 'factor'),
    [('.png', np.uint16, 16), ('.tif', np.uint16, 4), ('.tif', np.float32, 1 / 255)],
)
def test_files_of_more_than_eight_bits(tmp_path, suffix, dtype, factor):
    said: list[str] = []
    decoder = ImageDecoder(said.append)
    for high in (255, 100):
        path = tmp_path / f'{high}{suffix}'
        cv2.imwrite(str(path), (picture(high) * np.float64(factor)).astype(dtype))
        rgb = decoder.file(path)
        assert np.abs(rgb.astype(int) - picture(high)[..., None]).max() <= 1
    assert len(said) == (dtype == np.uint16)
