# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Object masks in image files: read as prompts, written as results."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tam_ros.drawing.palette import voc_palette

MAX_INDEX = 255
"""The highest object id that an indexed PNG can hold."""


class MaskFileError(ValueError):
    """A file cannot be used as a mask; the message names it."""


class MaskWriteError(OSError):
    """A mask cannot be written."""


def read_masks(path: str | Path) -> dict[int, NDArray[np.bool_]]:
    """Read an image whose values are object ids, as DAVIS and YouTube-VOS annotations are.

    Args:
        path: an indexed or a grey image of 8 or 16 bits; 0 is background.

    Returns:
        A mask bool [H, W] for each object, by id.

    Raises:
        MaskFileError: missing, damaged, a colour picture, or without an object.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError as error:
        raise MaskFileError(f'{path} does not exist') from error
    except Exception as error:  # a damaged file surfaces as any of half a dozen kinds of error
        raise MaskFileError(f'{path} cannot be read as a mask: {error}') from error
    if image.mode not in ('1', 'L', 'P', 'I;16', 'I;16B', 'I'):
        raise MaskFileError(
            f'{path} is a colour picture ({image.mode}); a mask is an indexed or grey image whose '
            'values are object ids'
        )
    values = np.asarray(image)
    ids = [int(value) for value in np.unique(values) if value > 0]
    if not ids:
        raise MaskFileError(f'{path} marks no object: all of its pixels are 0')
    return {number: values == number for number in ids}


class MaskFolder:
    """A new folder of indexed PNG files, one a frame, in the palette of DAVIS."""

    def __init__(self, path: str | Path) -> None:
        """Create the folder.

        Raises:
            MaskWriteError: it exists, or cannot be made.
        """
        self._path = Path(path)
        self._palette = voc_palette().tobytes()
        try:
            self._path.mkdir()
        except OSError as error:
            raise MaskWriteError(f'{self._path} cannot be made: {error.strerror}') from error

    def write(self, name: str, labels: NDArray[np.uint16]) -> None:
        """Write one frame.

        A file appears whole or not at all, also where the disk is full.

        Args:
            name: of the file, without `.png`.
            labels: [H, W], 0 background, else the object id, at most `MAX_INDEX`.

        Raises:
            MaskWriteError: an id that does not fit, a name that was used, or a full disk.
        """
        if labels.max(initial=0) > MAX_INDEX:
            raise MaskWriteError(
                f'object id {labels.max()} does not fit into an indexed PNG, which ends at '
                f'{MAX_INDEX}'
            )
        path = self._path / f'{name}.png'
        if path.exists():
            raise MaskWriteError(f'two frames are called {name!r}; {path} is of the first')
        image = Image.fromarray(labels.astype(np.uint8))
        image.putpalette(self._palette)
        data = io.BytesIO()
        image.save(data, 'png')
        part = path.with_suffix('.part')
        try:
            part.write_bytes(data.getvalue())
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            reason = os.strerror(error.errno or errno.EIO)
            raise MaskWriteError(f'{path} cannot be written: {reason}') from error
