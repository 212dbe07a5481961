# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a folder of image files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tam_ros.io.frames import IMAGE_SUFFIXES, Frame, SourceError, check_rate, paced_header
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder

DEFAULT_RATE_HZ = 30.0


class ImageFolder:
    """The image files of a folder in natural order (`2.png` before `10.png`), a `FrameSource`."""

    def __init__(self, path: str | Path, rate_hz: float = DEFAULT_RATE_HZ) -> None:
        """List the image files.

        Args:
            path: the folder. Subfolders are ignored.
            rate_hz: frames per second; gives the stamps.

        Raises:
            SourceError: the folder is missing or has no image file.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise SourceError(f'{folder} is not a folder')
        check_rate(rate_hz)
        self.name = folder.name
        self.rate_hz = rate_hz
        self._decoder = ImageDecoder()
        self.files = sorted(
            (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES),
            key=_natural,
        )
        if not self.files:
            kinds = ', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)
            raise SourceError(f'{folder} has no image file ({kinds})')
        self.count = len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; SourceError names a file that cannot be decoded."""
        for index, file in enumerate(self.files):
            try:
                rgb = self._decoder.file(file)
            except (OSError, ImageFormatError) as error:
                raise SourceError(f'{file} cannot be read: {error}') from error
            header = paced_header(index, self.rate_hz)
            yield Frame(header.stamp, rgb, header, file=file.name)


def _natural(file: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that compares runs of digits by value and the rest as text."""
    parts = re.findall(r'\d+|\D+', file.name)
    return [(0, int(part), '') if part.isdecimal() else (1, 0, part) for part in parts]
