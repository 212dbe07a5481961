# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Mask images read and written: indexed, grey, 16 bits, the palette of DAVIS."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

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
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'rgb.png')
    with pytest.raises(MaskFileError, match='rgb.png is a colour image'):
        read_masks(tmp_path / 'rgb.png')
    with pytest.raises(MaskFileError, match='no.png does not exist'):
        read_masks(tmp_path / 'no.png')


def test_ids_and_names_that_do_not_fit(tmp_path):
    with MaskFolder(tmp_path / 'masks') as folder:
        with pytest.raises(MaskWriteError, match='object id 256 does not fit'):
            folder.write('a', np.full((2, 2), 256, np.uint16))
        folder.write('a', labels())
        with pytest.raises(MaskWriteError, match="two frames are named 'a'"):
            folder.write('a', labels())
    with pytest.raises(OutputError, match='masks exists; choose another name'):
        MaskFolder(tmp_path / 'masks')
