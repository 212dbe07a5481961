# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Video sequences with true masks, in folders laid out as those of the DAVIS challenge.

    DATASET/JPEGImages/<sequence>/00000.jpg ...     or JPEGImages/480p/<sequence>/...
    DATASET/Annotations/<sequence>/00000.png ...    or Annotations/480p/<sequence>/...

A mask is an indexed or grey PNG of the size of its image: 0 background, 1..254 objects, 255 pixels
that count for nobody. DAVIS-2016 knows one object only and calls it 255: where the first mask that
shows anything holds 255 alone, the sequence is read so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from tam_ros.evaluation.jaccard import VOID
from tam_ros.io.encodings import decode_compressed
from tam_ros.io.frames import SourceError
from tam_ros.io.image_folder import ImageFolder

IMAGES, TRUTH = 'JPEGImages', 'Annotations'
RESOLUTION = '480p'
LEAST_FRAMES = 3  # the first is prompted, the last does not count

_LAYOUT = f'expected {IMAGES}/<sequence>/*.jpg and {TRUTH}/<sequence>/*.png'
_log = logging.getLogger(__name__)


class DatasetError(SourceError):
    """A dataset is incomplete or contradicts itself; the message names the file or folder."""


class TruthFrame(NamedTuple):
    """One frame of a sequence.

    Attributes:
        image: uint8 RGB [H, W, 3].
        labels: integer [H, W], 0 background, object ids, `VOID`; None where nobody annotated.
    """

    image: np.ndarray
    labels: np.ndarray | None


class TruthSequence(Protocol):
    """A video with truth that can be gone through more than once.

    Attributes:
        name: for tables and messages.
    """

    name: str

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def __iter__(self) -> Iterator[TruthFrame]:
        """Give the frames in order."""
        ...


class FolderSequence:
    """A sequence of files, read one frame at a time; a `TruthSequence`."""

    def __init__(self, name: str, images: Path, truth: Path) -> None:
        """Look at the files of a sequence without reading their pixels.

        Raises:
            DatasetError: files are missing, differ in size, or show no object.
        """
        self.name = name
        self._images = _images_of(images)
        self._truth = {path.stem: path for path in truth.glob('*.png')}
        self._check_names(images, truth)
        self._check_sizes()
        self._one_object_called_void = self._first_labels() == {VOID}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._images)

    def __iter__(self) -> Iterator[TruthFrame]:
        """Give the frames in order; DatasetError names a file that cannot be read."""
        for path in self._images:
            truth = self._truth.get(path.stem)
            yield TruthFrame(_read_image(path), None if truth is None else self._labels(truth))

    def _labels(self, path: Path) -> np.ndarray:
        labels = _read_labels(path)
        if self._one_object_called_void:
            labels = (labels == VOID).astype(np.uint8)
        return labels

    def _check_names(self, images: Path, truth: Path) -> None:
        if not self._truth:
            raise DatasetError(f'{truth} holds no mask (*.png)')
        stems = {path.stem for path in self._images}
        missing = sorted(self._truth.keys() - stems)
        if len(missing) == len(self._truth):
            raise DatasetError(
                f'{self.name}: no frame in common: the first image is {self._images[0].name}, '
                f'the first mask {min(self._truth)}.png, and names must agree'
            )
        if missing:
            raise DatasetError(
                f'{images}: {len(missing)} of {len(self._truth)} masks have no image, '
                f'the first is {missing[0]}.png'
            )
        if len(self._truth) < LEAST_FRAMES:
            raise DatasetError(
                f'{truth} holds {len(self._truth)} masks; at least {LEAST_FRAMES} are needed: the '
                'first is the prompt and, as in DAVIS, the last does not count'
            )

    def _check_sizes(self) -> None:
        expected = _size(self._images[0])
        for path in (*self._images, *self._truth.values()):
            size = _size(path)
            if size != expected:
                raise DatasetError(
                    f'{path} is {size[0]}x{size[1]}, but {self._images[0]} is '
                    f'{expected[0]}x{expected[1]}; all of a sequence must agree'
                )

    def _first_labels(self) -> set[int]:
        """Return the labels of the first mask that shows anything."""
        for path in self._images:
            if path.stem in self._truth:
                labels = set(np.unique(_read_labels(self._truth[path.stem])).tolist()) - {0}
                if labels:
                    return labels
        raise DatasetError(f'{self.name}: no mask shows an object; all pixels are 0')


def open_dataset(folder: str | Path, names: Sequence[str] = ()) -> list[FolderSequence]:
    """Find the sequences of a dataset and look them over.

    Args:
        folder: of the dataset.
        names: sequences to take, in this order; none: all that have masks, sorted. A path of a
            text file stands for the names in it, one a line, as in DAVIS's `ImageSets`.

    Raises:
        DatasetError: a folder or a sequence is missing, or a sequence is broken.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f'{root} is not a folder')
    for part in (IMAGES, TRUTH):
        if not (root / part).is_dir():
            raise DatasetError(f'{root} has no folder {part}; {_LAYOUT}')
    resolved = (root / IMAGES / RESOLUTION).is_dir()
    images, truth = (
        root / part / RESOLUTION if resolved else root / part for part in (IMAGES, TRUTH)
    )
    if not truth.is_dir():
        raise DatasetError(f'{images} is there, but {truth} is not')
    known = sorted(path.name for path in truth.iterdir() if path.is_dir())
    chosen = _named(names) or known
    if not chosen:
        raise DatasetError(f'{truth} holds no sequence; {_LAYOUT}')
    for name in chosen:
        for place in (truth, images):
            if not (place / name).is_dir():
                raise DatasetError(
                    f'no folder {place / name}; sequences with masks: {", ".join(known) or "none"}'
                )
    if not names:
        bare = sorted({path.name for path in images.iterdir() if path.is_dir()} - set(known))
        if bare:
            _log.warning('left out, for they have no masks: %s', ', '.join(bare))
    return [FolderSequence(name, images / name, truth / name) for name in chosen]


def _named(names: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for name in names:
        if name.endswith('.txt'):
            chosen += Path(name).read_text(encoding='utf-8').split()
        else:
            chosen.append(name)
    return list(dict.fromkeys(chosen))


def _images_of(folder: Path) -> list[Path]:
    try:
        return ImageFolder(folder).files
    except SourceError as error:
        raise DatasetError(str(error)) from error


def _size(path: Path) -> tuple[int, int]:
    """Return (width, height) from the head of a file."""
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error


def _read_image(path: Path) -> np.ndarray:
    try:
        return decode_compressed(path.suffix[1:], path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error


def _read_labels(path: Path) -> np.ndarray:
    """Return integer [H, W]: the indices of the pixels, whatever the palette shows."""
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except (OSError, SyntaxError) as error:  # PIL calls a damaged PNG a SyntaxError
        raise DatasetError(f'{path} cannot be read: {error}') from error
    if labels.ndim != 2:
        raise DatasetError(
            f'{path} is a colour picture; masks are indexed or grey PNG files '
            'whose pixel values are object ids'
        )
    return labels.astype(np.uint8) if labels.dtype == bool else labels
