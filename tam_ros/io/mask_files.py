# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Object masks in image files: reads them as prompts and writes them as results."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tam_ros.io.image_data import check_size
from tam_ros.io.image_decoder import MAX_FILE_BYTES
from tam_ros.io.soft_masks import has_soft_edge
from tam_ros.new_output import NewFolder, OutputError
from tam_ros.reading import InputError, reading
from tam_ros.regular_file import open_regular

MAX_INDEX = 255
"""The highest object id that an indexed PNG can hold."""


_MAX_MASKS = 1 << 30  # bytes of all masks of a file, one for each pixel and object
_LOSSY = ('JPEG', 'MPO')


class MaskFileError(InputError, ValueError):
    """A file cannot be used as a mask; the message gives its path."""


class MaskWriteError(OutputError):
    """A mask cannot be written; the message gives the path and the reason."""


def read_masks(
    path: str | Path, threshold: int | None = None, limit: int = MAX_INDEX
) -> dict[int, NDArray[np.bool_]]:
    """Read an image whose values are object ids, as DAVIS and YouTube-VOS annotations are.

    Args:
        path: an indexed or a grey image of 8 or 16 bits; 0 is background. A colour image whose
            channels are equal is grey, and an EXIF orientation is applied, as with images.
        threshold: None, or the lowest value of the only object, which gets the id 1; for masks
            with a soft edge.
        limit: how many objects there may be.

    Returns:
        A mask bool [H, W] for each object, by id.

    Raises:
        MaskFileError: the file is missing, damaged, a colour image, has no object or too many, or
            looks like a mask with a soft edge.
    """
    values, is_lossy, is_indexed = _read_values(path)
    if threshold is not None:
        mask = values >= max(threshold, 1)
        if not mask.any():
            raise MaskFileError(
                f'{path} has no object: its highest value is {values.max(initial=0)}, below the '
                f'threshold {threshold}'
            )
        return {1: mask}
    ids = [int(value) for value in np.unique(values) if value > 0]
    if not ids:
        raise MaskFileError(f'{path} has no object: all pixels are 0')
    advice = f'if it is one mask with a soft edge, give --mask-threshold {(ids[-1] + 1) // 2}'
    if is_lossy and len(ids) > 1:
        raise MaskFileError(
            f'{path} has {len(ids)} values, but its format does not keep the values of pixels: '
            f'{advice}'
        )
    if len(ids) > limit:
        raise MaskFileError(
            f'{path} has {len(ids)} values, one for each object, more than max_objects, {limit}: '
            f'{advice}'
            + (f'; otherwise --max-objects {len(ids)}' if len(ids) <= MAX_INDEX else '')
        )
    if not is_indexed and has_soft_edge(values, ids):
        raise MaskFileError(
            f'{path} has {len(ids)} values, of which all but {ids[-1]} are only along edges: '
            f'{advice}; as an indexed image it would be {len(ids)} objects'
        )
    if len(ids) * values.size > _MAX_MASKS:
        raise MaskFileError(
            f'{path} has {len(ids)} objects of {values.shape[1]}x{values.shape[0]} pixels, which '
            f'are more than {_MAX_MASKS} bytes of masks; use a smaller image or fewer objects'
        )
    return {number: values == number for number in ids}


def _read_values(path: str | Path) -> tuple[NDArray[np.integer[Any]], bool, bool]:
    """Return the values of a mask image, whether the format changes them, and if it is indexed."""
    with (
        reading(path, MaskFileError, 'a mask'),
        open_regular(path, MAX_FILE_BYTES) as file,
        Image.open(file) as image,
    ):
        check_size(image.height, image.width)
        is_lossy = image.format in _LOSSY
        image = ImageOps.exif_transpose(image)
        values = np.asarray(image)
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if image.mode in ('RGB', 'RGBA', 'LA'):
        colours = len(image.getbands()) - image.mode.endswith('A')
        if image.mode.endswith('A') and (values[:, :, -1] != 255).any():
            raise MaskFileError(
                f'{path} has transparent pixels; a mask is an indexed or grey image without '
                f'transparency, whose values are object ids'
            )
        if (values[:, :, :1] == values[:, :, :colours]).all():
            return values[:, :, 0], is_lossy, False
    if image.mode not in ('1', 'L', 'P', 'I;16', 'I;16B', 'I'):
        raise MaskFileError(
            f'{path} is a colour image ({image.mode}); a mask is an indexed or grey image whose '
            'values are object ids'
        )
    return values, is_lossy, image.mode == 'P'


class MaskFolder(NewFolder):
    """A new folder of indexed PNG files, one per frame, with the palette of DAVIS."""

    error = MaskWriteError

    def write(self, name: str, labels: NDArray[np.uint16]) -> None:
        """Write one frame.

        A file is written completely or not at all, also if the disk is full.

        Args:
            name: name of the file, without `.png`.
            labels: [H, W], 0 background, else the object id, at most `MAX_INDEX`.

        Raises:
            MaskWriteError: an id above `MAX_INDEX`, a name that was used already, or a full disk.
        """
        self.add_file(f'{name}.png', encode_labels(labels))


def encode_labels(labels: NDArray[np.uint16]) -> bytes:
    """Return a label image as the content of an indexed PNG file with the palette of DAVIS.

    Args:
        labels: [H, W], 0 background, else the object id, at most `MAX_INDEX`.

    Raises:
        MaskWriteError: an id above `MAX_INDEX`.
    """
    if labels.max(initial=0) > MAX_INDEX:
        raise MaskWriteError(
            f'object id {labels.max()} does not fit into an indexed PNG, whose highest id is '
            f'{MAX_INDEX}'
        )
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(_palette())
    data = io.BytesIO()
    image.save(data, 'png')
    return data.getvalue()


@lru_cache(maxsize=1)
def _palette() -> bytes:
    return voc_palette().tobytes()


def voc_palette() -> np.ndarray:
    """Return the 256 colours, uint8 RGB [256, 3], of the index images of PASCAL VOC and DAVIS.

    The bits of the index, three at a time from the lowest, are the bits of red, green and blue
    from the highest: https://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
    """
    index = np.arange(256)
    channels = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (index >> (3 * place + channel)) & 1
            channels[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return channels
