# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes results into a ROS 2 bag (MCAP) that `ros2 bag` and Foxglove open, without ROS.

The bag contains every message definition, including ours. Results have the time of their image,
so that replaying the bag and reading it again give the same frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from rosbags.convert.converter import create_connections_converters
from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from tam_ros.closing import Closing
from tam_ros.interfaces import (
    COMPRESSED_IMAGE_TYPE,
    IMAGE_TYPE,
    OBJECT_TYPE,
    OBJECTS_TYPE,
    STATE_NUMBERS,
    labels_encoding,
    png_format,
)
from tam_ros.io.disk_space import ensure_room
from tam_ros.io.frames import Header
from tam_ros.new_output import NewOutput, OutputError
from tam_ros.reading import reason

# For the chunk of 1 MiB that rosbags buffers before writing, and for the index at the end.
_RESERVE = 3 * 2**20  # bytes
_CHECK_EVERY = 2**18  # bytes

# The newest version that rosbag2 of Humble and Iron can read as well. Version 9 differs in the QoS
# profiles, a list with words instead of a text with numbers: Humble refuses the list when it opens
# the bag, and the words when it plays it.
_METADATA_VERSION: Final = 8


class BagWriteError(OutputError):
    """A bag cannot be written; the message gives the path and the reason."""


class BagWriter(Closing):
    """A new bag. Use it as a context manager: it is then complete also after an exception.

    A path that ends in `.mcap` becomes a single file; any other path becomes a folder with
    `metadata.yaml`, like those of `ros2 bag record`. If the disk is full, the message that does
    not fit is refused and the bag can still be finished.

    The `recorded_ns` of the writing methods is the message's time in the bag, nanoseconds; None
    for the stamp of its header. Results have the time at which their image was recorded.
    """

    def __init__(self, path: str | Path) -> None:
        """Create the bag.

        Raises:
            OutputError: the path exists, or cannot be written.
        """
        self._path = Path(path)
        self._output = NewOutput(path)
        partial = self._output.partial
        # rosbags writes a folder; a single file is moved out of it at the end.
        self._single = partial.suffix.lower() == '.mcap'
        self._folder = partial.with_suffix('') if self._single else partial
        self._types = message_types()
        self._writer = Writer(
            self._folder, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP
        )
        self._connections: dict[str, Connection] = {}
        self._file = self._folder / f'{self._folder.name}.mcap'
        self._written = 0  # bytes of all messages
        self._unchecked = _CHECK_EVERY  # bytes since the free space was last checked
        try:
            self._writer.open()
        except (OSError, WriterError) as error:
            self._output.close()
            raise BagWriteError(f'{self._path} cannot be written: {error}') from error

    def write_image(
        self, topic: str, header: Header, rgb: np.ndarray, recorded_ns: int | None = None
    ) -> None:
        """Append an image, uint8 RGB [H, W, 3], as `sensor_msgs/Image`."""
        message = self._image(header, 'rgb8', np.ascontiguousarray(rgb))
        self._write(topic, header, message, recorded_ns)

    def write_labels(
        self, topic: str, header: Header, labels: np.ndarray, recorded_ns: int | None = None
    ) -> None:
        """Append a label image [H, W], 0 background: mono8, or 16UC1 where an id is above 255."""
        encoding, pixels = _compact(labels)
        message = self._image(header, encoding, pixels)
        self._write(topic, header, message, recorded_ns)

    def write_labels_png(
        self, topic: str, header: Header, labels: np.ndarray, recorded_ns: int | None = None
    ) -> None:
        """Append a label image [H, W] losslessly compressed, as `sensor_msgs/CompressedImage`."""
        encoding, pixels = _compact(labels)
        _, png = cv2.imencode('.png', pixels)
        message = self._types.types[COMPRESSED_IMAGE_TYPE](
            self._header(header), png_format(encoding), png.reshape(-1)
        )
        self._write(topic, header, message, recorded_ns)

    def write_objects(
        self,
        topic: str,
        header: Header,
        size: tuple[int, int],
        objects: Iterable[Any],
        recorded_ns: int | None = None,
    ) -> None:
        """Append the tracked objects of one image as `tam_ros/TrackedObjectArray`.

        Args:
            topic: topic to write to.
            header: header of the image.
            size: (height, width) of the image.
            objects: `tam_ros.tracking.TrackedObject`s.
            recorded_ns: see the class.
        """
        height, width = size
        tracked = [self._object(item) for item in objects]
        message = self._types.types[OBJECTS_TYPE](self._header(header), height, width, tracked)
        self._write(topic, header, message, recorded_ns)

    def write_serialized(
        self, topic: str, message_type: str, stamp_ns: int, data: bytes | memoryview
    ) -> None:
        """Append a serialized message, as a raw subscription receives it.

        Args:
            topic: topic to write to.
            message_type: such as `sensor_msgs/msg/Image`.
            stamp_ns: the message's time in the bag, nanoseconds.
            data: the message in CDR, with the encapsulation header.
        """
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, message_type, typestore=self._types)
            self._connections[topic] = connection
        self._append(connection, stamp_ns, data)

    def add_source(
        self, reader: Any, connections: Sequence[Connection]
    ) -> Callable[[Connection, int, bytes], None]:
        """Add topics of another bag, with their definitions and the QoS that can be offered.

        Args:
            reader: reader of the other bag: a `rosbags.highlevel.AnyReader` or one with its
                interface.
            connections: connections of `reader`.

        Returns:
            A function that appends one message of these topics, given its connection, time in
            nanoseconds and data. ROS 1 messages are converted to ROS 2.
        """
        types = reader.typestore if reader.is2 else self._types
        with redirect_stdout(StringIO()):  # rosbags prints which definitions differ
            mapped, convert = create_connections_converters(
                [_with_known_qos(item) for item in connections], types, reader, self._writer
            )

        def append(connection: Connection, time_ns: int, data: bytes) -> None:
            target = mapped[connection.id, connection.owner]
            self._append(target, time_ns, convert[connection.msgtype](data))

        return append

    def close(self) -> None:
        """Finish the bag. Calling it again does nothing."""
        if self._writer.storage is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            raise BagWriteError(f'{self._path} cannot be finished: {error}') from error
        finally:
            if self._single:
                self._file.replace(self._output.partial)
            self._output.publish()

    def discard(self) -> None:
        """Remove what was written, in place of `close`."""
        self._writer.abort()
        self._output.close()

    def _write(self, topic: str, header: Header, message: Any, recorded_ns: int | None) -> None:
        data = self._types.serialize_cdr(message, message.__msgtype__)
        time_ns = header.stamp_ns if recorded_ns is None else recorded_ns
        self.write_serialized(topic, message.__msgtype__, time_ns, data)

    def _append(self, connection: Connection, time_ns: int, data: bytes | memoryview) -> None:
        if not 0 <= time_ns < 1 << 63:
            raise BagWriteError(
                f'{self._path}: no message can be recorded at the time {time_ns} ns; it counts '
                'from 1970'
            )
        self._written += len(data)
        self._unchecked += len(data)
        try:
            if self._unchecked >= _CHECK_EVERY:
                ensure_room(self._file, _RESERVE + 2 * len(data) + self._written // 2**12)
                self._unchecked = 0
            self._writer.write(connection, time_ns, data)
        except OSError as error:
            raise BagWriteError(
                f'{self._path} cannot be written any further: {reason(error)}'
            ) from error

    def _header(self, header: Header) -> Any:
        types = self._types.types
        seconds, nanoseconds = divmod(header.stamp_ns, 1_000_000_000)
        if not -(1 << 31) <= seconds < 1 << 31:
            raise BagWriteError(
                f'{self._path}: the time {header.stamp_ns} ns of an image does not fit into a '
                'message, which counts seconds in 32 bits'
            )
        time = types['builtin_interfaces/msg/Time'](seconds, nanoseconds)
        return types['std_msgs/msg/Header'](time, header.frame_id)

    def _image(self, header: Header, encoding: str, pixels: np.ndarray) -> Any:
        height, width = pixels.shape[:2]
        return self._types.types[IMAGE_TYPE](
            self._header(header),
            height,
            width,
            encoding,
            0,
            pixels.strides[0],
            pixels.reshape(-1).view(np.uint8),
        )

    def _object(self, item: Any) -> Any:
        types = self._types.types
        x0, y0, x1, y1 = item.box or (0, 0, 0, 0)
        x, y = item.centroid or (np.nan, np.nan)
        unknown = (np.nan,) * 3  # recordings are tracked without their depth images
        return types[OBJECT_TYPE](
            id=item.id,
            name='',
            state=STATE_NUMBERS[str(getattr(item.state, 'value', item.state))],
            score=item.score,
            box=types['sensor_msgs/msg/RegionOfInterest'](x0, y0, y1 - y0, x1 - x0, False),
            centroid=types['geometry_msgs/msg/Point'](x, y, 0.0),
            area=item.area,
            # Negative before the first prompt of an object that is tracked backwards from it.
            age_frames=max(0, item.age_frames),
            age_seconds=max(0.0, item.age_seconds),
            mask_png=np.zeros(0, np.uint8),
            position=types['geometry_msgs/msg/Point'](*unknown),
            extent=types['geometry_msgs/msg/Vector3'](*unknown),
            position_covariance=np.full(9, np.nan),
            position_points=0,
        )


def _with_known_qos(connection: Connection) -> Connection:
    """Return a connection without the QoS profiles that a player of Humble cannot offer.

    A player replaces the history; a topic without profiles is offered with the player's default.
    """

    def known(profile: Qos) -> bool:
        policies = (profile.reliability, profile.durability, profile.liveliness)
        return not any(item.name in ('UNKNOWN', 'BEST_AVAILABLE') for item in policies)

    if not isinstance(connection.ext, ConnectionExtRosbag2):
        return connection
    profiles = list(filter(known, connection.ext.offered_qos_profiles))
    return connection._replace(ext=connection.ext._replace(offered_qos_profiles=profiles))


def _compact(labels: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the encoding of a label image [H, W] and its pixels in that encoding."""
    encoding = labels_encoding(int(labels.max(initial=0)))
    dtype = np.uint8 if encoding == 'mono8' else np.uint16
    return encoding, np.ascontiguousarray(labels, dtype)


def message_types() -> Typestore:
    """Return the message types of ROS 2 Jazzy and ours, read from the `.msg` files.

    Raises:
        FileNotFoundError: the definitions are missing: the installation is incomplete.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    definitions = {}
    for file in sorted(_definitions_folder().glob('*.msg')):
        definitions.update(
            get_types_from_msg(file.read_text(encoding='utf-8'), f'tam_ros/msg/{file.stem}')
        )
    store.register(definitions)
    return store


def _definitions_folder() -> Path:
    """Return the folder of the `.msg` files: of a checkout, or of an installed ROS package."""
    prefixes = filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep))
    candidates = [Path(__file__).resolve().parents[2] / 'msg']
    candidates += [Path(prefix) / 'share' / 'tam_ros' / 'msg' for prefix in prefixes]
    candidates += [
        parent / 'share' / 'tam_ros' / 'msg' for parent in Path(__file__).resolve().parents
    ]
    for folder in candidates:
        if (folder / 'TrackedObjectArray.msg').is_file():
            return folder
    raise FileNotFoundError(
        'the message definitions of tam_ros are neither next to the package nor in share/tam_ros; '
        'build the package with `make setup` or `colcon build`'
    )
