# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a ROS bag: ROS 1 `.bag`, ROS 2 MCAP or SQLite, read without ROS."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tam_ros.interfaces import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE
from tam_ros.io.bag_reader import open_bag
from tam_ros.io.compressed_images import is_depth_format
from tam_ros.io.encodings import is_picture
from tam_ros.io.frames import Frame, Header, SourceError, TopicChoiceError
from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.io.stamps import NANOSECONDS, ImageStamps, are_stuck, median_rate
from tam_ros.io.video_packets import PACKET_TYPES, VideoDecoder, is_video_format, packet_encoding
from tam_ros.printable import one_line
from tam_ros.reading import failing_as

if TYPE_CHECKING:
    from tam_ros.io.bag_reader import BagReader

_MAX_NOTE, _MAX_TOPIC = 1000, 256  # characters of what a bag contains, in warnings
_LOOK_AT = 10  # messages of each image topic, to learn its encoding and its times

_log = logging.getLogger(__name__)


@dataclass
class ImageTopic:
    """An image topic of a bag.

    Attributes:
        name: name of the topic.
        message_type: `sensor_msgs/msg/Image`, `sensor_msgs/msg/CompressedImage`, or one of
            `PACKET_TYPES`.
        count: number of messages.
        encoding: `encoding` or `format` of a message: the first that can be tracked on,
            otherwise that of the first message.
        stamps_ns: stamps of the first messages, nanoseconds.
        recorded_ns: their times of recording, nanoseconds.
    """

    name: str
    message_type: str
    count: int = 0
    encoding: str = ''
    stamps_ns: list[int] = field(default_factory=list)
    recorded_ns: list[int] = field(default_factory=list)

    @property
    def is_colour(self) -> bool:
        """Whether its images can be tracked on; depth images cannot."""
        if self.is_video:
            return True
        if self.message_type == COMPRESSED_IMAGE_TYPE:
            is_depth = is_depth_format(self.encoding) or self.name.endswith('/compressedDepth')
            return not is_depth
        return is_picture(self.encoding)

    @property
    def is_video(self) -> bool:
        """Whether an image depends on the messages before it."""
        if self.message_type == COMPRESSED_IMAGE_TYPE:
            return is_video_format(self.encoding)
        return self.message_type in PACKET_TYPES

    @property
    def is_stuck(self) -> bool:
        """Whether the stamps are all the same."""
        return are_stuck(self.stamps_ns)

    @property
    def rate_hz(self) -> float | None:
        """The usual number of images per second, or None."""
        usable = all(self.stamps_ns) and not self.is_stuck
        return median_rate(self.stamps_ns if usable else self.recorded_ns)

    def add(self, message: Any, recorded_ns: int) -> None:
        """Learn from a message."""
        encoding = packet_encoding(message)
        if not self.stamps_ns:
            self.encoding = encoding
        elif not self.is_colour:
            first, self.encoding = self.encoding, encoding
            if not self.is_colour:
                self.encoding = first
        stamp, _ = _stamp_and_frame(message)
        self.stamps_ns.append(stamp.sec * NANOSECONDS + stamp.nanosec)
        self.recorded_ns.append(recorded_ns)

    def __str__(self) -> str:
        """Return a one-line description."""
        kind = self.message_type.rpartition('/')[2]
        return f'{self.name} ({kind} {self.encoding!r}, {self.count} messages)'


class BagSource:
    """One image topic of a bag, as a `FrameSource`.

    A frame's stamp is that of its header, or the time of recording, see `ImageStamps`. Malformed
    messages are skipped with a warning, as the node does. The rate is the usual one of the first
    messages: the times of a whole bag may have gaps and jumps.
    """

    def __init__(self, path: str | Path, topic: str | None = None) -> None:
        """Read the bag's index.

        Args:
            path: the `.bag`, `.mcap` or `.db3` file, or the folder that contains it.
            topic: the image topic; needed if several topics have colour images.

        Raises:
            SourceError: the bag cannot be read, or the topic cannot be used.
            TopicChoiceError: there are several image topics and none was chosen.
        """
        self._path = Path(path)
        self.name = self._path.name
        with open_bag(self._path) as reader:
            for note in reader.notes:
                _log.warning('%s: %s', self._path, one_line(note, _MAX_NOTE))
            topics = _image_topics(reader)
            if not topics:
                raise SourceError(f'{path} has no image topic{_others(reader)}')
            chosen = _choose(self._path, topics, topic)
        self.topic = chosen.name
        self.count = chosen.count
        self.rate_hz = chosen.rate_hz
        self._chosen = chosen
        self._said: set[str] = set()  # a recording may be read several times

    def count_frames(self) -> int:
        """Return the number of messages."""
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; SourceError if the bag is damaged or has no usable image."""
        good = bad = unknown = 0
        first_error: Exception | None = None
        decoder = _Decoder(self._chosen.is_video, self._warn)
        stamps = ImageStamps(self._warn, self._chosen.is_stuck)
        with open_bag(self._path) as reader:
            for data, message_type, recorded_ns in _data(reader, self._chosen):
                try:
                    message = _deserialize(reader, data, message_type)
                    with failing_as(ImageFormatError, 'it cannot be decoded'):
                        pictures = decoder.decode(message, recorded_ns)
                except ImageFormatError as error:
                    bad += 1
                    first_error = first_error or error
                    self._warn(f'message {good + bad} skipped: {error}', 'skipped')
                    continue
                unknown += not pictures
                for (stamp, frame_id), arrived_ns, rgb in pictures:
                    good += 1
                    stamp_ns = stamps.stamp_ns(stamp.sec, stamp.nanosec, arrived_ns)
                    header = Header(stamp_ns, frame_id)
                    yield Frame(header.stamp, rgb, header, arrived_ns)
        if bad > 1:
            self._warn(f'{bad} messages skipped in total')
        if unknown:
            self._warn(f'{unknown} video packets without a picture, before a key frame, skipped')
        if not good:
            reason = f': {first_error}' if first_error else ''
            raise SourceError(f'{self._path} has no usable image on {self.topic}{reason}')

    def _warn(self, text: str, kind: str | None = None) -> None:
        """Say something about the topic, once for each text or kind of text."""
        if (kind or text) not in self._said:
            self._said.add(kind or text)
            _log.warning('%s: %s', one_line(self.topic, _MAX_TOPIC), one_line(text, _MAX_NOTE))


class _Decoder:
    """Decodes the images or video packets of one topic."""

    def __init__(self, is_video: bool, report: Callable[[str], None]) -> None:
        self._images = ImageDecoder(report)
        self._video: VideoDecoder[tuple[tuple[Any, str], int]] | None = None
        if is_video:
            self._video = VideoDecoder()

    def decode(
        self, message: Any, recorded_ns: int
    ) -> list[tuple[tuple[Any, str], int, np.ndarray]]:
        """Return images with stamp and frame_id, time of recording, and pixels."""
        tag = _stamp_and_frame(message), recorded_ns
        if self._video is None:
            return [(*tag, self._images.message(message))]
        decoded = self._video.decode(packet_encoding(message), message.data, tag)
        return [(*found, picture.rgb()) for found, picture in decoded]


def _stamp_and_frame(message: Any) -> tuple[Any, str]:
    """Return stamp and frame_id; `CompressedVideo` has no header."""
    if hasattr(message, 'header'):
        return message.header.stamp, message.header.frame_id
    return message.timestamp, message.frame_id


def _image_topics(reader: BagReader) -> list[ImageTopic]:
    """List the image topics of a bag by name, including depth."""
    topics: dict[tuple[str, str], ImageTopic] = {}
    connections = []
    for connection in sorted(reader.connections, key=lambda item: item.topic):
        is_image = connection.msgtype in (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE, *PACKET_TYPES)
        if is_image and connection.msgcount:
            # In a ROS 1 bag every publisher of a topic has its own connection, and in a split bag
            # every file.
            key = connection.topic, connection.msgtype
            topics.setdefault(key, ImageTopic(*key)).count += connection.msgcount
            connections.append(connection)
    if not connections:
        return []
    looked_at = 0
    try:
        for connection, recorded_ns, data in reader.messages(connections):
            topic = topics[connection.topic, connection.msgtype]
            looked_at += 1
            if len(topic.stamps_ns) < _LOOK_AT:
                with contextlib.suppress(ImageFormatError):
                    message = _deserialize(reader, data, connection.msgtype)
                    with failing_as(ImageFormatError, 'it has no encoding'):
                        topic.add(message, recorded_ns)
            seen = [len(one.stamps_ns) for one in topics.values()]
            if min(seen) >= _LOOK_AT or (min(seen) and looked_at >= _LOOK_AT * len(topics)):
                break
    except SourceError:  # damaged from here on, which reading the frames will report
        if not looked_at:
            raise
    return list(topics.values())


def _others(reader: BagReader, shown: int = 5) -> str:
    """Return what a bag without images has, for the user."""
    found = sorted({f'{item.topic} ({item.msgtype})' for item in reader.connections})
    more = f' and {len(found) - shown} more' if len(found) > shown else ''
    return f', only: {", ".join(found[:shown])}{more}' if found else ''


def _choose(path: Path, topics: list[ImageTopic], wanted: str | None) -> ImageTopic:
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
    # The same images without losses.
    colour = [topic for topic in colour if not topic.is_video] or colour
    if len(colour) == 1:
        return colour[0]
    if colour:
        raise TopicChoiceError(path, colour)
    raise SourceError(f'{path} has no colour image topic, only: {listing}')


def _data(reader: BagReader, topic: ImageTopic) -> Iterator[tuple[bytes, str, int]]:
    """Yield the serialized messages of one topic, their types and times of recording."""
    connections = [
        item
        for item in reader.connections
        if item.topic == topic.name and item.msgtype == topic.message_type
    ]
    for connection, recorded_ns, data in reader.messages(connections):
        yield data, connection.msgtype, recorded_ns


def _deserialize(reader: BagReader, data: bytes, message_type: str) -> Any:
    """Return a message; ImageFormatError if the data are not one of this type.

    A bag brings its own definitions, in which fields of that name may be missing or different.
    """
    with failing_as(ImageFormatError, f'its {len(data)} bytes are not a {message_type}'):
        message = reader.deserialize(data, message_type)
        stamp, frame_id = _stamp_and_frame(message)
        fields = (stamp.sec, int), (stamp.nanosec, int), (frame_id, str)
        if not all(type(value) is kind for value, kind in fields):
            raise ImageFormatError('its header has fields of other types')
        return message
