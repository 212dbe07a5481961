# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes frames as image files into a new folder."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.new_output import NewOutput, OutputError

_JPEG_QUALITY = 95


class FrameWriteError(OutputError):
    """A frame cannot be written; the message gives the path and the reason."""


class FrameFolder(Closing):
    """A new folder of image files. It appears when it is closed."""

    def __init__(self, path: str | Path) -> None:
        """Create the folder.

        Raises:
            OutputError: it exists, or cannot be created.
        """
        self._path = Path(path)
        self._output = NewOutput(path)
        self._open = True
        try:
            self._output.partial.mkdir()
        except OSError as error:
            self._output.close()
            raise FrameWriteError(f'{self._path} cannot be created: {error.strerror}') from error

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
        file = self._output.partial / name
        if file.exists():
            raise FrameWriteError(f'two frames are named {name!r}; the file is of the first')
        try:
            written, data = cv2.imencode(
                file.suffix.lower(),
                cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
            )
        except cv2.error:
            written = False
        if not written:
            height, width = rgb.shape[:2]
            raise FrameWriteError(
                f'{self._path / name} cannot be written: its format does not hold {width}x{height}'
            )
        try:
            file.write_bytes(data.tobytes())
        except OSError as error:
            file.unlink(missing_ok=True)
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise FrameWriteError(f'{self._path / name} cannot be written: {reason}') from error

    def close(self) -> None:
        """Move the folder to its path. Calling it again does nothing.

        Raises:
            OutputError: that is not possible.
        """
        if self._open:
            self._open = False
            self._output.publish()

    def discard(self) -> None:
        """Remove what was written, in place of `close`."""
        self._open = False
        self._output.close()
