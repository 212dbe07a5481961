# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes an MP4 file frame by frame."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from tam_ros.closing import Closing
from tam_ros.io.disk_space import ensure_room
from tam_ros.new_output import NewOutput, OutputError

_RESERVE = 2**20  # bytes for what OpenCV has buffered and for the fixed parts of the index
_INDEX_ENTRY = 64  # bytes per frame in the index at the end, at most


class VideoWriteError(OutputError):
    """A video file cannot be written; the message gives the path and the reason."""


class VideoWriter(Closing):
    """A new MP4 (MPEG-4 part 2) file. Use it as a context manager: it is then always complete.

    The file is created with the first frame, whose size it takes. If the disk is full, the frame
    that does not fit is refused and the file can still be finished.
    """

    def __init__(self, path: str | Path, rate_hz: float) -> None:
        """Check the path; the first `write` creates the file.

        Args:
            path: ends in `.mp4`; its folder exists.
            rate_hz: frames per second.

        Raises:
            VideoWriteError: the name does not end in `.mp4`.
            OutputError: the path exists, or cannot be written.
        """
        self._path = Path(path)
        if self._path.suffix.lower() != '.mp4':
            raise VideoWriteError(f'{self._path} must end in .mp4')
        self._output = NewOutput(path)
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0

    def write(self, rgb: np.ndarray) -> None:
        """Append one frame, uint8 RGB [H, W, 3].

        Raises:
            VideoWriteError: the file cannot be created, the size changed, or the disk is full.
        """
        height, width = rgb.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            self._writer = cv2.VideoWriter(
                str(self._output.partial),
                cv2.VideoWriter.fourcc(*'mp4v'),
                self._rate_hz,
                self._size,
            )
            if not self._writer.isOpened():
                self._writer = None
                raise VideoWriteError(f'{self._path} cannot be written')
        if (width, height) != self._size:
            raise VideoWriteError(
                f'{self._path} has frames of {self._size}, one of {(width, height)} does not fit'
            )
        try:
            # OpenCV does not report failed writes. No frame takes more bytes than its pixels.
            ensure_room(self._output.partial, _RESERVE + rgb.size + _INDEX_ENTRY * self._frames)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise VideoWriteError(
                f'{self._path} cannot be written any further: {reason}'
            ) from error
        self._frames += 1
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file.

        Raises:
            VideoWriteError: the file that was written cannot be opened.
        """
        if self._writer is None:
            self._output.close()
            return
        self._writer.release()
        self._writer = None
        written = cv2.VideoCapture(str(self._output.partial))
        playable = written.isOpened()
        written.release()
        self._output.publish()
        if self._frames and not playable:
            raise VideoWriteError(f'{self._path} cannot be finished: is the disk full?')

    def discard(self) -> None:
        """Remove what was written, in place of `close`."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        self._output.close()
