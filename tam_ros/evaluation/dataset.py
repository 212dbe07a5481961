# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Video sequences with ground truth, in folders with the layout of the DAVIS challenge.

    DATASET/JPEGImages/<sequence>/00000.jpg ...     or JPEGImages/480p/<sequence>/...
    DATASET/Annotations/<sequence>/00000.png ...    or Annotations/480p/<sequence>/...

A mask is an indexed or grey PNG of the size of its image: 0 is background, 1..254 are objects, 255
is ignored. DAVIS-2016 has a single object with the label 255: if 255 is the only label of the
first mask that is not empty, it is that object.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from tam_ros.evaluation.jaccard import VOID
from tam_ros.io.frames import SourceError
from tam_ros.io.image_data import check_size
from tam_ros.io.image_decoder import MAX_FILE_BYTES, ImageDecoder
from tam_ros.io.image_folder import ImageFolder
from tam_ros.reading import reading
from tam_ros.regular_file import open_regular, read_regular

IMAGES, TRUTH = 'JPEGImages', 'Annotations'
RESOLUTION = '480p'
_MAX_LIST = 1 << 20  # bytes of a list of names
MIN_FRAMES = 3  # the first is prompted and the last is not scored

_LAYOUT = f'expected {IMAGES}/<sequence>/*.jpg and {TRUTH}/<sequence>/*.png'
_log = logging.getLogger(__name__)


class DatasetError(SourceError):
    """A dataset is incomplete or inconsistent; the message names the file or folder."""


class TruthFrame(NamedTuple):
    """One frame of a sequence.

    Attributes:
        image: uint8 RGB [H, W, 3].
        labels: integer [H, W]: 0 is background, `VOID` is ignored, other values are object ids;
            None if the frame is not annotated.
    """

    image: np.ndarray
    labels: np.ndarray | None


class TruthSequence(Protocol):
    """A video with ground truth that can be iterated over repeatedly."""

    @property
    def name(self) -> str:
        """Name for tables and messages."""
        ...

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def __iter__(self) -> Iterator[TruthFrame]:
        """Yield the frames in order."""
        ...


class FolderSequence:
    """A `TruthSequence` of files, which are read frame by frame."""

    def __init__(self, name: str, images: Path, truth: Path) -> None:
        """Check the files of a sequence without decoding them.

        Raises:
            DatasetError: files are missing or differ in size, or no mask shows an object.
        """
        self.name = name
        self._images = _images_of(images)
        self._truth = {path.stem: path for path in truth.glob('*.png')}
        self._check_names(images, truth)
        self._check_sizes()
        self._void_is_the_object = self._first_labels() == {VOID}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._images)

    def __iter__(self) -> Iterator[TruthFrame]:
        """Yield the frames in order; DatasetError if a file cannot be read."""
        decoder = ImageDecoder()
        for path in self._images:
            truth = self._truth.get(path.stem)
            image = _read_image(decoder, path)
            yield TruthFrame(image, None if truth is None else self._labels(truth))

    def _labels(self, path: Path) -> np.ndarray:
        labels = _read_labels(path)
        if self._void_is_the_object:
            labels = (labels == VOID).astype(np.uint8)
        return labels

    def _check_names(self, images: Path, truth: Path) -> None:
        if not self._truth:
            raise DatasetError(f'{truth} contains no mask (*.png)')
        stems = {path.stem for path in self._images}
        missing = sorted(self._truth.keys() - stems)
        if len(missing) == len(self._truth):
            raise DatasetError(
                f'{self.name}: no image has a mask: the first image is {self._images[0].name}, '
                f'the first mask {min(self._truth)}.png; their names must match'
            )
        if missing:
            raise DatasetError(
                f'{images}: {len(missing)} of {len(self._truth)} masks have no image, '
                f'the first is {missing[0]}.png'
            )
        if len(self._truth) < MIN_FRAMES:
            raise DatasetError(
                f'{truth} has {len(self._truth)} masks; at least {MIN_FRAMES} are needed: the '
                'first is the prompt and, as in DAVIS, the last is not scored'
            )

    def _check_sizes(self) -> None:
        expected = _size(self._images[0])
        for path in (*self._images, *self._truth.values()):
            size = _size(path)
            if size != expected:
                raise DatasetError(
                    f'{path} is {size[0]}x{size[1]}, but {self._images[0]} is '
                    f'{expected[0]}x{expected[1]}; all files of a sequence must have the same size'
                )

    def _first_labels(self) -> set[int]:
        """Return the labels of the first mask that is not empty."""
        for path in self._images:
            if path.stem in self._truth:
                labels = set(np.unique(_read_labels(self._truth[path.stem])).tolist()) - {0}
                if labels:
                    return labels
        raise DatasetError(f'{self.name}: no mask shows an object; all pixels are 0')


def open_dataset(folder: str | Path, names: Sequence[str] = ()) -> list[FolderSequence]:
    """Find and check the sequences of a dataset.

    Args:
        folder: the dataset.
        names: names of the sequences, in this order; empty: all that have masks, sorted. The path
            of a text file is replaced by the names in it, one per line, as in DAVIS's `ImageSets`.

    Raises:
        DatasetError: a folder or a sequence is missing, or a sequence is unusable.
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
        raise DatasetError(f'{images} exists, but {truth} does not')
    known = sorted(path.name for path in truth.iterdir() if path.is_dir())
    chosen = _named(names) or known
    if not chosen:
        raise DatasetError(f'{truth} contains no sequence; {_LAYOUT}')
    for name in chosen:
        for place in (truth, images):
            if not (place / name).is_dir():
                raise DatasetError(
                    f'no folder {place / name}; sequences with masks: {", ".join(known) or "none"}'
                )
    if not names:
        bare = sorted({path.name for path in images.iterdir() if path.is_dir()} - set(known))
        if bare:
            _log.warning('skipped, as they have no masks: %s', ', '.join(bare))
    return [FolderSequence(name, images / name, truth / name) for name in chosen]


def _named(names: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for name in names:
        if name.endswith('.txt'):
            with reading(name, DatasetError, 'a list of sequences'):
                chosen += read_regular(name, _MAX_LIST).decode().split()
        else:
            chosen.append(name)
    return list(dict.fromkeys(chosen))


def _images_of(folder: Path) -> list[Path]:
    try:
        return list(ImageFolder(folder).files)
    except SourceError as error:
        raise DatasetError(str(error)) from error


def _size(path: Path) -> tuple[int, int]:
    """Return (width, height) from the header of a file."""
    with reading(path, DatasetError, 'an image'), Image.open(path) as image:
        return image.size


def _read_image(decoder: ImageDecoder, path: Path) -> np.ndarray:
    with reading(path, DatasetError, 'an image'):
        return decoder.file(path)


def _read_labels(path: Path) -> np.ndarray:
    """Return integer [H, W]: the indices of the pixels, not the colours of the palette."""
    with (
        reading(path, DatasetError, 'a mask'),
        open_regular(path, MAX_FILE_BYTES) as file,
        Image.open(file) as image,
    ):
        check_size(image.height, image.width)
        labels = np.asarray(image)
    if labels.ndim != 2:
        raise DatasetError(
            f'{path} is a colour image; masks are indexed or grey PNG files '
            'whose pixel values are object ids'
        )
    if labels.dtype.kind not in 'biu' or labels.min() < 0 or labels.max() > VOID:
        raise DatasetError(f'{path} has other values than 0 to {VOID}, so it is not a mask')
    return labels.astype(np.uint8)
