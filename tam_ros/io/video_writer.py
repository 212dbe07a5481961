"""Writes an MP4 file frame by frame."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np


class VideoWriteError(OSError):
    """A video file cannot be written."""


class VideoWriter:
    """An MP4 (MPEG-4 part 2) file that is complete whenever it is closed, also after Ctrl-C.

    Use as a context manager. The file appears with the first frame, whose size it takes.
    """

    def __init__(self, path: str | Path, rate_hz: float) -> None:
        """Remember where to write, at `rate_hz` frames a second; the folder must exist.

        Raises:
            VideoWriteError: no such folder, or a name that does not end in `.mp4`.
        """
        self._path = Path(path)
        if self._path.suffix.lower() != '.mp4':
            raise VideoWriteError(f'{self._path} must end in .mp4')
        if not self._path.parent.is_dir():
            raise VideoWriteError(f'{self._path.parent} is not a folder')
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, rgb: np.ndarray) -> None:
        """Append one frame, uint8 RGB [H, W, 3].

        Raises:
            VideoWriteError: the file cannot be made, or the size changed.
        """
        height, width = rgb.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.VideoWriter_fourcc(*'mp4v'), self._rate_hz, self._size
            )
            if not self._writer.isOpened():
                raise VideoWriteError(f'{self._path} cannot be written')
        if (width, height) != self._size:
            raise VideoWriteError(
                f'{self._path} has frames of {self._size}, one of {(width, height)} does not fit'
            )
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def __enter__(self) -> VideoWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, whatever happened."""
        self.close()
