# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opens bags of every kind and reports what is wrong with them as `SourceError`.

The files with the messages say everything that is needed. So `metadata.yaml`, which people edit,
lose and copy, is used only for bags that are compressed as whole files.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Reader1
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from tam_ros.io.bag_files import (
    METADATA,
    ZSTD_MAGIC,
    BagKind,
    bag_files,
    bag_kind,
    has_metadata,
    named_like_bag,
    recordings,
)
from tam_ros.io.frames import SourceError
from tam_ros.io.sqlite_reader import SqliteFile
from tam_ros.reading import reading, reason
from tam_ros.regular_file import read_regular

if TYPE_CHECKING:
    from tam_ros.io.mcap_reader import McapFile

    _Reader: TypeAlias = AnyReader | McapFile | SqliteFile

_MAX_METADATA = 1 << 24  # bytes of `metadata.yaml`, which may contain message definitions
_MAX_MESSAGE = 1 << 29  # bytes of a message that was compressed
_MAX_TIME_NS = 1 << 63

_log = logging.getLogger(__name__)

_REPAIR = {
    BagKind.ROS1: '`rosbag reindex` may restore it',
    BagKind.SQLITE: '`sqlite3 OLD.db3 .recover | sqlite3 NEW.db3` may recover the rest',
}


class BagReader:
    """The files of a bag, one after another, with the interface of `AnyReader`.

    Attributes:
        is2: whether the messages are those of ROS 2.
        connections: the topics, once for each file, and in ROS 1 for each publisher.
        typestore: their message types.
        notes: what is missing or was skipped, in words.
    """

    def __init__(
        self,
        path: Path,
        readers: Sequence[_Reader],
        notes: Sequence[str],
    ) -> None:
        """Join the files.

        Args:
            path: the bag, for messages.
            readers: open, of the same kind.
            notes: about missing files.
        """
        self._path = path
        self._readers = readers
        self.is2 = readers[0].is2
        self.connections: list[Connection] = [
            connection for reader in readers for connection in reader.connections
        ]
        self.typestore: Typestore = readers[0].typestore
        if len(readers) > 1:
            self.typestore = get_typestore(Stores.EMPTY)
            for reader in readers:
                self.typestore.register(reader.typestore.fielddefs)
        skipped = sorted({item for reader in readers for item in getattr(reader, 'skipped', ())})
        self.notes = list(notes)
        if skipped:
            self.notes.append(f'not ROS 2 messages, skipped: {", ".join(skipped)}')
        announced = sum(_announced(reader) for reader in readers if isinstance(reader, AnyReader))
        listed = sum(connection.msgcount for connection in self.connections)
        for connection in self.connections:
            if not isinstance(connection.topic, str) or not isinstance(connection.msgtype, str):
                raise ValueError('a topic or its type has no name')
        if listed < announced:
            self.notes.append(f'{announced} messages are announced, but only {listed} are listed')

    def messages(
        self, connections: Collection[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, time of recording in nanoseconds, data) of the connections' messages.

        Raises:
            SourceError: where the damage begins; or at the end, if there were fewer messages than
                the bag announces.
        """
        for reader in self._readers:
            own = [one for one in reader.connections if not connections or one in connections]
            if own:
                yield from self._messages_of(reader, own)

    def _messages_of(
        self, reader: _Reader, connections: Sequence[Connection]
    ) -> Iterator[tuple[Connection, int, bytes]]:
        read: Counter[str] = Counter()
        valid_ns = 0
        odd = 0
        with _reading(self._path):
            for connection, recorded_ns, data in reader.messages(connections):
                read[connection.topic] += 1
                # SQLite stores a value of any type and sign.
                if type(recorded_ns) is int and 0 <= recorded_ns < _MAX_TIME_NS:
                    valid_ns = recorded_ns
                else:
                    odd += 1
                # rosbag2 may compress each message. The data of one that is not compressed begin
                # with the encapsulation header of CDR, whose first byte is 0.
                if self.is2 and data[: len(ZSTD_MAGIC)] == ZSTD_MAGIC:
                    data = _unpack(data)
                yield connection, valid_ns, data
        if odd:
            _log.warning(
                '%s: %d messages have no valid time of recording; that of the message before was '
                'taken',
                self._path,
                odd,
            )
        announced: Counter[str] = Counter()
        for connection in connections:
            announced[connection.topic] += connection.msgcount
        for topic, count in announced.items():
            if read[topic] < count:
                raise SourceError(
                    f'{self._path} is damaged: it announces {count} messages on {topic}, but only '
                    f'{read[topic]} can be read'
                )

    def deserialize(self, data: bytes, message_type: str) -> Any:
        """Return a message from its serialized form.

        Raises:
            Exception: the data are not such a message.
        """
        if self.is2:
            return self.typestore.deserialize_cdr(data, message_type)
        return self.typestore.deserialize_ros1(data, message_type)


@contextmanager
def open_bag(path: Path) -> Iterator[BagReader]:
    """Open a bag. Of a truncated MCAP file, everything before the damage can be read.

    Args:
        path: the file, or the folder that contains it.

    Raises:
        SourceError: not a bag, or a damaged one; also raised when reading reaches the damage.
    """
    stack = ExitStack()
    try:
        # What the user of the reader raises does not pass through the boundary.
        with _reading(path):
            files, notes = _files_of(path)
            reader = BagReader(path, [_open(file, stack) for file in files], notes)
        if len(files) > 1 or files[0] != path:
            missing = _listed_count(path) - sum(item.msgcount for item in reader.connections)
            # Parts that are missing, or are not messages of ROS 2, have been noted already.
            if missing > 0 and not reader.notes:
                reader.notes.append(f'{METADATA} lists {missing} more messages than there are')
        yield reader
    finally:
        # What was read is complete; a reader of damaged metadata may fail to close.
        with suppress(Exception):
            stack.close()


def _reading(path: Path) -> AbstractContextManager[None]:
    kind = _kind(path) if path.is_file() else None
    advice = _REPAIR.get(kind, '') if kind is not None else ''
    return reading(path, SourceError, 'a bag', folders=True, advice=advice)


def _announced(reader: AnyReader) -> int:
    """Return how many messages the index of a bag, or the metadata, announces."""
    count = 0
    for one in reader.readers:
        if isinstance(one, Reader1):
            count += sum(sum(info.connection_counts.values()) for info in one.chunk_infos)
        else:
            count += one.message_count
    return count


def _unpack(data: bytes) -> bytes:
    """Return a message as it was before its compression; as it is, if that is not possible.

    Such a message is skipped where it is deserialized.
    """
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as stream:
            message = stream.read(_MAX_MESSAGE)
            return message if not stream.read(1) else data
    except zstandard.ZstdError:
        return data


def _files_of(path: Path) -> tuple[list[Path], list[str]]:
    """Return the files of a bag, and notes on what is missing.

    The folder itself stands for files that are compressed as a whole.
    """
    if path.is_file():
        return [path], []
    present = bag_files(path)
    listed = _listed_files(path)
    missing = [name for name in listed if not (path / name).exists()]
    if any(name.endswith('.zstd') for name in listed) and not missing:
        return [path], []
    chosen = [file for file in present if file.name in listed] or present
    if not chosen:
        chosen = [file for file in sorted(path.iterdir()) if named_like_bag(file)]
    if not chosen:
        raise SourceError(
            f'{path} is a bag whose files are missing: {", ".join(missing)}'
            if missing
            else f'{path} contains no bag'
        )
    if len({_kind(file) for file in chosen}) > 1 or len(recordings(chosen)) > 1:
        raise SourceError(
            f'{path} contains several recordings: choose one of '
            f'{", ".join(file.name for file in chosen)}'
        )
    if missing and any(file.name in listed for file in chosen):
        return chosen, [f'missing, though {METADATA} lists them: {", ".join(missing)}']
    return chosen, []


def _listed_files(folder: Path) -> list[str]:
    """Return the names of the files in `metadata.yaml`; empty if it cannot be read."""
    paths = _metadata(folder).get('relative_file_paths')
    if not isinstance(paths, list):
        return []
    # Foxy wrote the folder as well.
    return [Path(path).name for path in paths if isinstance(path, str)]


def _listed_count(folder: Path) -> int:
    """Return the number of messages in `metadata.yaml`; 0 if it cannot be read."""
    count = _metadata(folder).get('message_count')
    return count if type(count) is int else 0


def _metadata(folder: Path) -> dict[str, Any]:
    """Return what `metadata.yaml` says; empty if it cannot be read."""
    if not has_metadata(folder):
        return {}
    try:
        with reading(folder / METADATA, SourceError, 'metadata'):
            text = read_regular(folder / METADATA, _MAX_METADATA)
            information = yaml.safe_load(text.decode())['rosbag2_bagfile_information']
    except SourceError:
        return {}
    return information if isinstance(information, dict) else {}


def _kind(file: Path) -> BagKind | None:
    return bag_kind(file) or named_like_bag(file)


def _open(path: Path, stack: ExitStack) -> _Reader:
    kind = None if path.is_dir() else _kind(path)
    if kind is BagKind.MCAP:
        try:
            from tam_ros.io.mcap_reader import McapFile
        except ModuleNotFoundError as error:
            missing = error
        else:
            return McapFile(path)
    if kind is BagKind.SQLITE:
        return SqliteFile(path)
    if kind is not None and path.suffix != kind.value:  # by which rosbags goes
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='tam_'))
        link = Path(folder, f'bag{kind.value}')
        link.symlink_to(path.resolve())
        path = link
    # The default types are for bags without message definitions, such as early SQLite ones.
    reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
    if kind is not BagKind.MCAP:
        return stack.enter_context(reader)
    try:
        return stack.enter_context(reader)
    except Exception as error:
        raise SourceError(
            f'{path} cannot be read as a bag: {reason(error)}. Damaged files, and those of other '
            f'recorders, can be read with the package mcap, which is missing ({missing.name}): '
            'pip install mcap'
        ) from error
