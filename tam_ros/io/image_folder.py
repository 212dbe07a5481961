# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a folder of image files, or of one image file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from tam_ros.io.animation import is_animation
from tam_ros.io.bag_files import natural_key
from tam_ros.io.frames import (
    IMAGE_SUFFIXES,
    Frame,
    Header,
    SourceError,
    check_rate,
    paced_header,
)
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.io.stamps import NANOSECONDS, median_rate
from tam_ros.reading import reading

DEFAULT_RATE_HZ = 30.0

_log = logging.getLogger(__name__)

_TIME = re.compile(r'(\D*?)(\d+\.\d{3,}|\d{13}|\d{16}|\d{19})')
_SECONDS = {13: Decimal(1000), 16: Decimal(10**6), 19: Decimal(10**9)}  # by number of digits
_BEGINNINGS = (b'\xff\xd8\xff', b'\x89PNG', b'BM', b'II*\0', b'MM\0*')  # WebP: see below
_DATES = range(10**9, 4 * 10**9)  # seconds since 1970, from 2001 to 2096


class ImageFolder:
    """The image files of a folder in natural order (`2.png` before `10.png`), a `FrameSource`.

    If the names are times, they give the stamps: seconds as in the data sets of TUM
    (`1305031102.175304.png`), or milliseconds, microseconds or nanoseconds since 1970. Otherwise
    the frames are evenly spaced.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """List the image files.

        Args:
            path: the folder, or one image file. Subfolders and hidden files are ignored; pipes
                and devices too, with a warning.
            rate_hz: frames per second, in place of the names; gives the stamps.

        Raises:
            SourceError: the folder is missing or has no image file.
        """
        folder = Path(path)
        self.name = folder.name
        self._decoder = ImageDecoder()
        if folder.is_file():
            self.files: Sequence[Path] = [folder]
        elif folder.is_dir():
            self.files = image_files(folder)
            _warn_of_others(folder)
        else:
            raise SourceError(f'{folder} is not a folder')
        if not self.files:
            kinds = ', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)
            raise SourceError(f'{folder} has no image file ({kinds})')
        self.count = len(self.files)
        if is_animation(self.files[0]):
            _log.warning(
                '%s is animated: a folder uses the first frame of each file; give the file itself '
                'to track it',
                self.files[0],
            )
        self._stamps_ns = None if rate_hz is not None else _times_ns(self.files)
        if self._stamps_ns is not None:
            self._stamps_ns, self.files = zip(
                *sorted(zip(self._stamps_ns, self.files, strict=True)), strict=True
            )
            rate_hz = median_rate(self._stamps_ns)
        self.rate_hz = DEFAULT_RATE_HZ if rate_hz is None else rate_hz
        check_rate(self.rate_hz)

    def count_frames(self) -> int:
        """Return the number of image files."""
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; SourceError names a file that cannot be decoded."""
        for index, file in enumerate(self.files):
            with reading(file, SourceError, 'an image'):
                rgb = self._decoder.file(file)
            if self._stamps_ns is None:
                header = paced_header(index, self.rate_hz)
            else:
                header = Header(self._stamps_ns[index], '')
            yield Frame(header.stamp, rgb, header, file=file.name)


def is_image_file(path: Path) -> bool:
    """Return whether a file is an image by its name and its content, and not a video."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    with path.open('rb') as file:
        beginning = file.read(12)
    return beginning.startswith(_BEGINNINGS) or (
        beginning.startswith(b'RIFF') and beginning.endswith(b'WEBP')
    )


def image_files(folder: Path) -> Sequence[Path]:
    """Return the image files of a folder in natural order."""
    return sorted((file for file in _named_like_images(folder) if file.is_file()), key=natural_key)


def _named_like_images(folder: Path) -> Iterator[Path]:
    return (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith('.')
    )


def _warn_of_others(folder: Path) -> None:
    """Report what has the name of an image and is none, in one line."""
    others = sorted(
        file.name for file in _named_like_images(folder) if not (file.is_file() or file.is_dir())
    )
    if others:
        _log.warning(
            '%s: %d named like images are pipes, devices or broken links and are left out; the '
            'first is %r',
            folder,
            len(others),
            others[0],
        )


def _times_ns(files: Sequence[Path]) -> Sequence[int] | None:
    """Return the times that all names are, nanoseconds; None if they are something else."""
    matches = [_TIME.fullmatch(file.stem) for file in files]
    prefixes = {match[1] for match in matches if match is not None}
    if None in matches or len(prefixes) != 1:
        return None
    seconds = [
        Decimal(match[2]) / _SECONDS.get(len(match[2]) if '.' not in match[2] else 0, 1)
        for match in matches
        if match is not None
    ]
    # `shot1.0001.png` is the first frame of a shot, so relative times must stand alone.
    relative = prefixes == {''} and all('.' in file.stem for file in files)
    if not relative and not all(int(value) in _DATES for value in seconds):
        return None
    times = [int(value * NANOSECONDS) for value in seconds]
    return times if len(set(times)) == len(times) else None
