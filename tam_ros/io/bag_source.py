# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a ROS bag: ROS 1 `.bag`, ROS 2 MCAP or SQLite, read without ROS."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tam_ros.io.bag_reader import reading
from tam_ros.io.encodings import (
    SUPPORTED_ENCODINGS,
    ImageFormatError,
    decode_compressed,
    decode_message,
)
from tam_ros.io.frames import Frame, Header, SourceError, TopicChoiceError

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'

_MAX_WARNINGS = 5  # about messages, for one reading

_log = logging.getLogger(__name__)


class ImageTopic(NamedTuple):
    """An image topic of a bag."""

    name: str
    message_type: str
    count: int
    encoding: str  # of its first message: `Image.encoding` or `CompressedImage.format`

    @property
    def is_picture(self) -> bool:
        """Whether it holds pictures rather than depth."""
        if self.message_type == COMPRESSED_IMAGE:
            return 'compressedDepth' not in self.encoding
        return self.encoding in SUPPORTED_ENCODINGS

    def __str__(self) -> str:
        """Describe it in one line."""
        kind = self.message_type.rpartition('/')[2]
        return f'{self.name} ({kind} {self.encoding!r}, {self.count} messages)'


class BagSource:
    """One image topic of a bag, as a `FrameSource`.

    A frame's stamp is its header's; where that is zero, the time of recording. Messages whose
    fields contradict each other are left out with a warning, as a live node leaves them out.
    The rate is the average over the whole bag.
    """

    def __init__(self, path: str | Path, topic: str | None = None) -> None:
        """Read the bag's index.

        Args:
            path: the `.bag`, `.mcap` or `.db3` file, or the folder with `metadata.yaml`.
            topic: the image topic, needed when several hold pictures.

        Raises:
            SourceError: no readable bag, no image topic, or the choice is open.
        """
        self._path = Path(path)
        self.name = self._path.name
        topics = image_topics(self._path)
        chosen = _choose(self._path, topics, topic)
        self.topic = chosen.name
        self.count = chosen.count
        self._message_type = chosen.message_type
        with reading(self._path) as reader:
            duration = reader.duration * 1e-9
        self.rate_hz = (self.count - 1) / duration if self.count > 1 and duration > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames; SourceError where the bag turns out damaged or has no good image."""
        good = bad = 0
        for message, recorded_ns in _messages(self._path, self.topic, self._message_type):
            try:
                rgb = _decode(message)
            except ImageFormatError as error:
                bad += 1
                if bad <= _MAX_WARNINGS:
                    _log.warning('%s: message %d left out: %s', self.topic, good + bad, error)
                first_error = error
                continue
            good += 1
            header = _header(message, recorded_ns)
            yield Frame(header.stamp, rgb, header, recorded_ns)
        if bad > _MAX_WARNINGS:
            _log.warning('%s: %d messages left out in all', self.topic, bad)
        if not good:
            reason = f': {first_error}' if bad else ''
            raise SourceError(f'{self._path} has no usable image on {self.topic}{reason}')


def image_topics(path: str | Path) -> list[ImageTopic]:
    """List the image topics of a bag by name, depth included.

    Raises:
        SourceError: no readable bag.
    """
    found: dict[tuple[str, str], ImageTopic] = {}
    with reading(Path(path)) as reader:
        for connection in sorted(reader.connections, key=lambda item: item.topic):
            if connection.msgtype not in (IMAGE, COMPRESSED_IMAGE) or not connection.msgcount:
                continue
            # In ROS 1 bags each publisher of a topic is a connection of its own.
            key = connection.topic, connection.msgtype
            known = found.get(key)
            if known is not None:
                found[key] = known._replace(count=known.count + connection.msgcount)
                continue
            _, _, data = next(iter(reader.messages([connection])))
            message: Any = reader.deserialize(data, connection.msgtype)
            encoding = message.encoding if connection.msgtype == IMAGE else message.format
            found[key] = ImageTopic(*key, connection.msgcount, encoding)
    return list(found.values())


def _choose(path: Path, topics: list[ImageTopic], wanted: str | None) -> ImageTopic:
    if not topics:
        raise SourceError(f'{path} has no image topic')
    listing = '; '.join(map(str, topics))
    if wanted is not None:
        matching = [topic for topic in topics if topic.name.strip('/') == wanted.strip('/')]
        if not matching:
            raise SourceError(f'{path} has no image topic {wanted!r}; it has {listing}')
        if not matching[0].is_picture:
            raise SourceError(
                f'{path}: {matching[0]} holds measurements or an encoding that is not known, not '
                f'pictures: choose the colour topic; the image topics are {listing}'
            )
        return matching[0]
    pictures = [topic for topic in topics if topic.is_picture]
    if len(pictures) == 1:
        return pictures[0]
    if pictures:
        raise TopicChoiceError(path, pictures)
    raise SourceError(f'{path} has no topic with pictures, only: {listing}')


def _messages(path: Path, topic: str, message_type: str) -> Iterator[tuple[Any, int]]:
    """Give the messages of one topic and when they were recorded, in nanoseconds."""
    with reading(path) as reader:
        connections = [
            item
            for item in reader.connections
            if item.topic == topic and item.msgtype == message_type
        ]
        for connection, recorded_ns, data in reader.messages(connections):
            yield reader.deserialize(data, connection.msgtype), recorded_ns


def _decode(message: Any) -> np.ndarray:
    if message.__msgtype__ == COMPRESSED_IMAGE:
        return decode_compressed(message.format, message.data)
    return decode_message(message)


def _header(message: Any, recorded_ns: int) -> Header:
    stamp = message.header.stamp
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    return Header(stamp_ns or recorded_ns, message.header.frame_id)
