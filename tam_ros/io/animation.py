# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of an animated image: GIF, PNG or WebP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tam_ros.io.frames import Frame, Header, SourceError, check_rate, paced_header

_FORMATS = ('GIF', 'PNG', 'WEBP')
_DEFAULT_MS = 100.0  # what browsers show a frame for if the file says 0
_MILLISECOND = 1_000_000  # nanoseconds


def is_animation(path: Path) -> bool:
    """Return whether a file is an image with several frames, by its content."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return getattr(image, 'n_frames', 1) > 1
    except (OSError, SyntaxError, ValueError):  # of PIL: not such a file, or a damaged one
        return False


class Animation:
    """An animated image, a `FrameSource`.

    The stamps follow from how long each frame is shown. Transparent parts are black.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """Read the header.

        Args:
            path: the file.
            rate_hz: frames per second, in place of the times in the file.

        Raises:
            SourceError: the file cannot be read.
        """
        self._path = Path(path)
        self.name = self._path.name
        if rate_hz is not None:
            check_rate(rate_hz)
        self.rate_hz = rate_hz
        self.count = self.count_frames()

    def count_frames(self) -> int:
        """Return the number of frames."""
        with Image.open(self._path, formats=_FORMATS) as image:
            return int(getattr(image, 'n_frames', 1))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; then SourceError if the file is damaged."""
        begin_ms = 0.0
        with Image.open(self._path, formats=_FORMATS) as image:
            for index in range(self.count):
                try:
                    image.seek(index)
                    rgba = np.asarray(image.convert('RGBA'))
                except (OSError, SyntaxError, EOFError) as error:
                    raise SourceError(
                        f'{self._path}: frame {index} of {self.count} cannot be read: {error}'
                    ) from error
                rgb = np.where(rgba[:, :, 3:] > 0, rgba[:, :, :3], np.uint8(0))
                if self.rate_hz is None:
                    header = Header(round(begin_ms * _MILLISECOND), '')
                    begin_ms += image.info.get('duration') or _DEFAULT_MS
                else:
                    header = paced_header(index, self.rate_hz)
                yield Frame(header.stamp, rgb, header)
