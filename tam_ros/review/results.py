# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reads the results of `tam track` and `tam label`: a bag, or a folder of indexed PNG files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tam_ros.interfaces import LABELS_PNG_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC, STATE_NAMES
from tam_ros.io.bag_reader import open_bag
from tam_ros.io.encodings import image_to_labels
from tam_ros.io.frames import SourceError
from tam_ros.io.image_data import check_size
from tam_ros.io.image_decoder import MAX_FILE_BYTES
from tam_ros.reading import reading
from tam_ros.regular_file import read_regular

VISIBLE, UNSEEN = 'visible', 'occluded'


class LabelledObject(NamedTuple):
    """An object on a frame.

    Attributes:
        id: its id in the label image.
        state: a name of `interfaces.STATE_NUMBERS`.
        score: 0 to 1; None where the results do not have it.
    """

    id: int
    state: str
    score: float | None


class LabelledFrame(NamedTuple):
    """The results of a frame.

    Attributes:
        key: what finds the frame in its recording: the stamp of a message, nanoseconds, or the
            name of a file without its suffix.
        labels: [H, W], 0 background, else the object id.
        objects: what is known of each object.
    """

    key: int | str
    labels: NDArray[Any]
    objects: tuple[LabelledObject, ...]


class Results:
    """Results of a recording, which can be read several times."""

    def __init__(self, path: str | Path) -> None:
        """Find out what they are.

        Args:
            path: a bag with label images, or a folder of PNG files.

        Raises:
            SourceError: neither.
        """
        self.path = Path(path)
        if not self.path.exists():
            raise SourceError(f'{path} does not exist')
        self._files = sorted(self.path.glob('*.png')) if self.path.is_dir() else []

    def __iter__(self) -> Iterator[LabelledFrame]:
        """Yield the frames; SourceError if the results are damaged or something else."""
        return self._of_files() if self._files else self._of_bag()

    def _of_files(self) -> Iterator[LabelledFrame]:
        known: dict[int, None] = {}  # ids, in the order in which they appear
        for file in self._files:
            labels = _read_png(file)
            seen = set(np.unique(labels[labels > 0]).tolist())
            known |= dict.fromkeys(sorted(seen))
            objects = tuple(
                LabelledObject(number, VISIBLE if number in seen else UNSEEN, None)
                for number in known
            )
            yield LabelledFrame(file.stem, labels, objects)

    def _of_bag(self) -> Iterator[LabelledFrame]:
        topics = (LABELS_TOPIC, LABELS_PNG_TOPIC, OBJECTS_TOPIC)
        with open_bag(self.path) as reader:
            chosen = [one for one in reader.connections if one.topic in topics]
            if {one.topic for one in chosen}.isdisjoint(topics[:2]):
                raise SourceError(f'{self.path} has no label images: it is not a result')
            waiting: dict[int, NDArray[Any]] = {}
            for connection, _, data in reader.messages(chosen):
                message = reader.deserialize(data, connection.msgtype)
                stamp = message.header.stamp
                stamp_ns = stamp.sec * 10**9 + stamp.nanosec
                if connection.topic == OBJECTS_TOPIC:
                    # Written after the labels of the same image.
                    labels = waiting.pop(stamp_ns, None)
                    if labels is not None:
                        yield LabelledFrame(stamp_ns, labels, _objects(message))
                elif connection.topic == LABELS_TOPIC:
                    waiting[stamp_ns] = image_to_labels(message)
                else:
                    waiting[stamp_ns] = _decode(bytes(message.data))


def _objects(message: Any) -> tuple[LabelledObject, ...]:
    return tuple(
        LabelledObject(one.id, STATE_NAMES.get(one.state, VISIBLE), float(one.score))
        for one in message.objects
    )


def _read_png(path: Path) -> NDArray[Any]:
    with reading(path, SourceError, 'a mask'):
        return _decode(read_regular(path, MAX_FILE_BYTES))


def _decode(data: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(data), formats=['PNG']) as image:
        check_size(image.height, image.width)
        labels = np.asarray(image)
    if labels.ndim != 2:
        raise SourceError('a colour image is not a label image')
    return labels
