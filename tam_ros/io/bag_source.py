# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a ROS bag: ROS 1 `.bag`, ROS 2 MCAP or SQLite, read without ROS."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tam_ros.interfaces import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE
from tam_ros.io.bag_reader import open_bag
from tam_ros.io.compressed_images import is_depth_format
from tam_ros.io.encodings import is_picture
from tam_ros.io.frames import Frame, Header, SourceError, TopicChoiceError
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder

if TYPE_CHECKING:
    from tam_ros.io.bag_reader import Reader

_MAX_WARNINGS = 5  # about malformed messages, each time a bag is read

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageTopic:
    """An image topic of a bag.

    Attributes:
        name: name of the topic.
        message_type: `sensor_msgs/msg/Image` or `sensor_msgs/msg/CompressedImage`.
        count: number of messages.
        encoding: `Image.encoding` or `CompressedImage.format` of its first message.
    """

    name: str
    message_type: str
    count: int
    encoding: str

    @property
    def is_colour(self) -> bool:
        """Whether its images can be tracked on; depth images cannot."""
        if self.message_type == COMPRESSED_IMAGE_TYPE:
            return not is_depth_format(self.encoding)
        return is_picture(self.encoding)

    def __str__(self) -> str:
        """Return a one-line description."""
        kind = self.message_type.rpartition('/')[2]
        return f'{self.name} ({kind} {self.encoding!r}, {self.count} messages)'


class BagSource:
    """One image topic of a bag, as a `FrameSource`.

    A frame's stamp is that of its header; if that is zero, the time of recording. Malformed
    messages are skipped with a warning, as the node does. The rate is the average over the bag.
    """

    def __init__(self, path: str | Path, topic: str | None = None) -> None:
        """Read the bag's index.

        Args:
            path: the `.bag`, `.mcap` or `.db3` file, or the folder with `metadata.yaml`.
            topic: the image topic; needed if several topics have colour images.

        Raises:
            SourceError: the bag cannot be read, or the topic cannot be used.
            TopicChoiceError: there are several image topics and none was chosen.
        """
        self._path = Path(path)
        self.name = self._path.name
        with open_bag(self._path) as reader:
            chosen = _choose(self._path, _image_topics(reader), topic)
            duration = reader.duration * 1e-9
        self.topic = chosen.name
        self.count = chosen.count
        self._message_type = chosen.message_type
        self._decoder = ImageDecoder()
        self.rate_hz = (self.count - 1) / duration if self.count > 1 and duration > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; SourceError if the bag is damaged or has no usable image."""
        good = bad = 0
        first_error: ImageFormatError | None = None
        for message, recorded_ns in _messages(self._path, self.topic, self._message_type):
            try:
                rgb = self._decoder.message(message)
            except ImageFormatError as error:
                bad += 1
                first_error = first_error or error
                if bad <= _MAX_WARNINGS:
                    _log.warning('%s: message %d skipped: %s', self.topic, good + bad, error)
                continue
            good += 1
            header = _header(message, recorded_ns)
            yield Frame(header.stamp, rgb, header, recorded_ns)
        if bad > _MAX_WARNINGS:
            _log.warning('%s: %d messages skipped in total', self.topic, bad)
        if not good:
            reason = f': {first_error}' if first_error else ''
            raise SourceError(f'{self._path} has no usable image on {self.topic}{reason}')


def _image_topics(reader: Reader) -> list[ImageTopic]:
    """List the image topics of a bag by name, including depth."""
    found: dict[tuple[str, str], ImageTopic] = {}
    for connection in sorted(reader.connections, key=lambda item: item.topic):
        is_image = connection.msgtype in (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)
        if not is_image or not connection.msgcount:
            continue
        # In a ROS 1 bag every publisher of a topic has its own connection.
        key = connection.topic, connection.msgtype
        known = found.get(key)
        if known is not None:
            found[key] = replace(known, count=known.count + connection.msgcount)
            continue
        _, _, data = next(iter(reader.messages([connection])))
        message: Any = reader.deserialize(data, connection.msgtype)
        encoding = message.encoding if connection.msgtype == IMAGE_TYPE else message.format
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
        if not matching[0].is_colour:
            raise SourceError(
                f'{path}: {matching[0]} has depth or other measurements, or an unknown encoding; '
                f'choose a colour topic. The image topics are {listing}'
            )
        return matching[0]
    colour = [topic for topic in topics if topic.is_colour]
    if len(colour) == 1:
        return colour[0]
    if colour:
        raise TopicChoiceError(path, colour)
    raise SourceError(f'{path} has no colour image topic, only: {listing}')


def _messages(path: Path, topic: str, message_type: str) -> Iterator[tuple[Any, int]]:
    """Yield the messages of one topic and their times of recording, nanoseconds."""
    with open_bag(path) as reader:
        connections = [
            item
            for item in reader.connections
            if item.topic == topic and item.msgtype == message_type
        ]
        for connection, recorded_ns, data in reader.messages(connections):
            yield reader.deserialize(data, connection.msgtype), recorded_ns


def _header(message: Any, recorded_ns: int) -> Header:
    stamp = message.header.stamp
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    return Header(stamp_ns or recorded_ns, message.header.frame_id)
