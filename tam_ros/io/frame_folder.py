# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes frames as image files into a new folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.new_output import NewFolder, OutputError

_JPEG_QUALITY = 95


class FrameWriteError(OutputError):
    """A frame cannot be written; the message gives the path and the reason."""


class FrameFolder(NewFolder):
    """A new folder of image files. It appears when it is closed."""

    error = FrameWriteError

    def write(self, name: str, rgb: NDArray[np.uint8]) -> None:
        """Write one frame.

        A file is written completely or not at all, also if the disk is full.

        Args:
            name: name of the file; its suffix is the format.
            rgb: [H, W, 3].

        Raises:
            FrameWriteError: the name was used already, the format cannot hold the image, or the
                disk is full.
        """
        try:
            data = encode_frame(rgb, Path(name).suffix.lower())
        except ValueError as error:
            raise FrameWriteError(f'{self._path / name} cannot be written: {error}') from error
        self.add_file(name, data)


def encode_frame(rgb: NDArray[np.uint8], suffix: str, quality: int = _JPEG_QUALITY) -> bytes:
    """Return a frame as the content of an image file.

    Args:
        rgb: [H, W, 3].
        suffix: of the file, which is its format.
        quality: of JPEG, 1 to 100.

    Raises:
        ValueError: the format cannot hold the image.
    """
    try:
        written, data = cv2.imencode(
            suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
    except cv2.error:
        written = False
    if not written:
        height, width = rgb.shape[:2]
        raise ValueError(f'its format does not hold {width}x{height}')
    return data.tobytes()
