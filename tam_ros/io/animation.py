# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of an animated image: GIF, PNG or WebP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tam_ros.io.frames import Frame, Header, SourceError, check_rate, paced_header
from tam_ros.io.image_data import check_size
from tam_ros.io.image_decoder import MAX_FILE_BYTES
from tam_ros.reading import failing_as, reading
from tam_ros.regular_file import open_regular

_FORMATS = ('GIF', 'PNG', 'WEBP')
_DEFAULT_MS = 100.0  # what browsers show a frame for if the file says 0
_MILLISECOND = 1_000_000  # nanoseconds
_LONGEST_MS = 24 * 3600 * 1000.0
_WHAT = 'an animated image'


def is_animation(path: Path) -> bool:
    """Return whether a file is an image with several frames, by its content."""
    try:
        return _count(path) > 1
    except SourceError:  # not such a file, or a damaged one
        return False


def _count(path: Path) -> int:
    with (
        reading(path, SourceError, _WHAT),
        open_regular(path, MAX_FILE_BYTES) as file,
        Image.open(file, formats=_FORMATS) as image,
    ):
        count = int(getattr(image, 'n_frames', 1))
        if count > 1:
            check_size(image.height, image.width)
        return count


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
        return _count(self._path)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; then SourceError if the file is damaged."""
        begin_ms = 0.0
        with (
            reading(self._path, SourceError, _WHAT),
            open_regular(self._path, MAX_FILE_BYTES) as file,
            Image.open(file, formats=_FORMATS) as image,
        ):
            for index in range(self.count):
                problem = f'{self._path}: frame {index} of {self.count} cannot be read'
                with failing_as(SourceError, problem):
                    image.seek(index)
                    check_size(image.height, image.width)
                    rgba = np.asarray(image.convert('RGBA'))
                rgb = np.where(rgba[:, :, 3:] > 0, rgba[:, :, :3], np.uint8(0))
                if self.rate_hz is None:
                    header = Header(round(begin_ms * _MILLISECOND), '')
                    shown_ms = image.info.get('duration')
                    begin_ms += shown_ms if _is_usable(shown_ms) else _DEFAULT_MS
                else:
                    header = paced_header(index, self.rate_hz)
                yield Frame(header.stamp, rgb, header)


def _is_usable(shown_ms: Any) -> bool:
    """Return whether a file says how long a frame is shown; 0 means that it does not."""
    return isinstance(shown_ms, (int, float)) and 0 < shown_ms <= _LONGEST_MS
