# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Mask images read and written: indexed, grey, 16 bits, the palette of DAVIS."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from tam_ros.io import mask_files
from tam_ros.io.mask_files import (
    MaskFileError,
    MaskFolder,
    MaskWriteError,
    read_masks,
    voc_palette,
)
from tam_ros.new_output import OutputError


def labels() -> np.ndarray:
    image = np.zeros((6, 8), np.uint16)
    image[1:3, 1:4] = 1
    image[4:, 5:] = 200
    return image


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_grey_images(tmp_path, dtype):
    Image.fromarray(labels().astype(dtype)).save(tmp_path / 'm.png')
    masks = read_masks(tmp_path / 'm.png')
    assert set(masks) == {1, 200}
    for number, mask in masks.items():
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, labels() == number)


def test_written_and_read_again(tmp_path):
    with MaskFolder(tmp_path / 'masks') as folder:
        folder.write('00007', labels())
    (path,) = (tmp_path / 'masks').iterdir()
    assert path.name == '00007.png'
    masks = read_masks(path)
    np.testing.assert_array_equal(masks[200], labels() == 200)
    with Image.open(path) as image:
        assert image.mode == 'P'
        colour = np.asarray(image.convert('RGB'))[1, 1]
    np.testing.assert_array_equal(colour, (128, 0, 0))


def test_palette_is_that_of_davis(shared_data):
    with Image.open(shared_data / 'Annotations' / 'dog' / '00000.png') as image:
        np.testing.assert_array_equal(np.array(image.getpalette()).reshape(-1, 3), voc_palette())


def test_annotations_of_davis(shared_data):
    masks = read_masks(shared_data / 'FirstFrameMulti' / 'bmx-trees_00000.png')
    assert set(masks) == {1, 2}
    (union,) = read_masks(shared_data / 'Annotations' / 'bmx-trees' / '00000.png').values()
    np.testing.assert_array_equal(masks[1] | masks[2], union)


def test_a_file_that_is_not_a_mask_is_named(tmp_path):
    Image.fromarray(np.eye(3, dtype=np.uint8)[None]).save(tmp_path / 'rgb.png')
    with pytest.raises(MaskFileError, match='rgb.png is a colour image'):
        read_masks(tmp_path / 'rgb.png')
    with pytest.raises(MaskFileError, match='no.png does not exist'):
        read_masks(tmp_path / 'no.png')


def disc() -> np.ndarray:
    """A round mask of 0 and 255."""
    y, x = np.mgrid[:60, :80]
    return np.where((x - 40) ** 2 + (y - 30) ** 2 < 400, 255, 0).astype(np.uint8)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_a_grey_image_may_have_equal_colours(tmp_path, mode):
    Image.fromarray(disc()).convert(mode).save(tmp_path / 'm.png')
    masks = read_masks(tmp_path / 'm.png')
    assert (masks[255] == (disc() > 0)).all()


def test_a_mask_is_turned_like_an_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(labels().astype(np.uint8)).save(tmp_path / 'm.png', exif=exif)
    assert (read_masks(tmp_path / 'm.png')[200] == (np.rot90(labels(), -1) == 200)).all()


def blurred() -> np.ndarray:
    return cv2.GaussianBlur(disc(), (0, 0), 2)


def bands() -> np.ndarray:
    """The same in few shades, as an image editor saves it."""
    return np.where(blurred() > 10, blurred() // 60 * 60, 0).astype(np.uint8)


# Each row: a mask with a soft edge, the name of its file, and words of the message.
@pytest.mark.parametrize(
    ('pixels', 'name', 'words'),
    [
        pytest.param(blurred(), 'm.png', 'more than max_objects, 16', id='blurred'),
        pytest.param(bands(), 'm.png', 'all but 240 are only along edges', id='four shades'),
        pytest.param(cv2.resize(disc(), (160, 120)), 'm.png', 'only along edges', id='enlarged'),
        pytest.param(disc() // 64, 'm.jpg', 'does not keep the values', id='JPEG'),
    ],
)
def test_a_soft_edge_is_not_many_objects(tmp_path, pixels, name, words):
    cv2.imwrite(str(tmp_path / name), pixels)
    with pytest.raises(MaskFileError, match=words) as error:
        read_masks(tmp_path / name, limit=16)
    threshold = int(re.search(r'--mask-threshold (\d+)', str(error.value))[1])
    assert 0 < threshold <= pixels.max()
    (mask,) = read_masks(tmp_path / name, threshold).values()
    expected = cv2.resize(disc(), pixels.shape[::-1]) >= 128
    assert (mask & expected).sum() / (mask | expected).sum() > 0.9


def test_large_ids_are_objects(tmp_path):
    """Of a grey label image; and along edges, if the image is indexed."""
    pixels = np.zeros((60, 80), np.uint8)
    for index, value in enumerate((60, 120, 240)):
        pixels[5:20, 5 + 25 * index : 25 + 25 * index] = value
    cv2.imwrite(str(tmp_path / 'm.png'), pixels)
    assert set(read_masks(tmp_path / 'm.png', limit=3)) == {60, 120, 240}
    with pytest.raises(MaskFileError, match='has 3 values.*more than max_objects, 2'):
        read_masks(tmp_path / 'm.png', limit=2)
    with MaskFolder(tmp_path / 'masks') as folder:
        folder.write('bands', bands())
    assert set(read_masks(tmp_path / 'masks' / 'bands.png')) == {60, 120, 180, 240}


def test_a_threshold_above_all_values(tmp_path):
    cv2.imwrite(str(tmp_path / 'm.png'), disc() // 2)
    with pytest.raises(MaskFileError, match='highest value is 127, below the threshold 200'):
        read_masks(tmp_path / 'm.png', 200)


def test_ids_and_names_that_do_not_fit(tmp_path):
    with MaskFolder(tmp_path / 'masks') as folder:
        with pytest.raises(MaskWriteError, match='object id 256 does not fit'):
            folder.write('a', np.full((2, 2), 256, np.uint16))
        folder.write('a', labels())
        with pytest.raises(MaskWriteError, match="two frames are named 'a.png'"):
            folder.write('a', labels())
    with pytest.raises(OutputError, match='masks exists; choose another name'):
        MaskFolder(tmp_path / 'masks')


def test_a_ramp_of_16_bits_is_not_thousands_of_objects(tmp_path):
    cv2.imwrite(str(tmp_path / 'm.png'), np.arange(4000, dtype=np.uint16).reshape(50, 80))
    with pytest.raises(
        MaskFileError, match='has 3999 values.*more than max_objects, 255'
    ) as error:
        read_masks(tmp_path / 'm.png')
    assert '--max-objects' not in str(error.value)


def test_the_masks_of_a_file_have_a_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_files, '_MAX_MASKS', 95)
    Image.fromarray(labels().astype(np.uint8)).save(tmp_path / 'm.png')
    with pytest.raises(MaskFileError, match='2 objects of 8x6 pixels.*more than 95 bytes'):
        read_masks(tmp_path / 'm.png')


def test_too_little_memory_is_not_damage(tmp_path, monkeypatch):
    def fail(image):
        raise MemoryError

    monkeypatch.setattr(mask_files.ImageOps, 'exif_transpose', fail)
    Image.fromarray(labels().astype(np.uint8)).save(tmp_path / 'm.png')
    with pytest.raises(MaskFileError, match='as a mask: there is not enough memory'):
        read_masks(tmp_path / 'm.png')
