# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reads MCAP files, whoever wrote them and in whatever state.

An MCAP file is a sequence of self-contained records (https://mcap.dev/spec); the index at its end
only speeds up access. So the records are read in the order in which they were written: a file
without an index, without chunks, or whose end is missing because its recorder was killed is read
like any other, up to the damage. Channels that are not ROS 2 messages are skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from mcap.exceptions import UnsupportedCompressionError
from mcap.reader import SeekingReader
from mcap.records import (
    Channel,
    Chunk,
    DataEnd,
    McapRecord,
    Message,
    MessageIndex,
    Schema,
    Statistics,
)
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_typestore

from tam_ros.io.frames import SourceError
from tam_ros.io.message_definitions import FORMATS, register
from tam_ros.io.message_order import DamageError, in_order
from tam_ros.reading import reason
from tam_ros.regular_file import open_regular

_MESSAGE_ENCODING = 'cdr'
_MAX_BYTES = 1 << 63
_MAX_CHUNK = 1 << 30  # bytes when unpacked; recorders write chunks of some megabytes

_log = logging.getLogger(__name__)


class _Contents(NamedTuple):
    """What can be read of a file.

    Attributes:
        channels: with messages, by id.
        schemas: by id.
        counts: number of messages by channel id.
        start_ns: time of the first message, nanoseconds.
        end_ns: time of the last message, nanoseconds.
        damage: the error at the end of a damaged file, or None.
    """

    channels: dict[int, Channel]
    schemas: dict[int, Schema]
    counts: dict[int, int]
    start_ns: int
    end_ns: int
    damage: DamageError | None


class McapFile:
    """The readable part of an MCAP file, with the interface of `rosbags.highlevel.AnyReader`.

    Attributes:
        connections: topics with at least one ROS 2 message.
        typestore: their message types.
        duration: from the first message to the last, nanoseconds.
        skipped: a description of each channel that cannot be read.
    """

    is2 = True

    def __init__(self, path: Path) -> None:
        """List the contents of the file: from its index, or else by reading it once.

        Raises:
            SourceError: damaged before the first message.
            OSError: the file cannot be opened.
        """
        self._path = path
        status = path.stat()
        contents = _contents(path, status.st_size, status.st_mtime_ns)
        if contents.damage is not None and not contents.counts:
            raise contents.damage
        self.duration = max(0, contents.end_ns - contents.start_ns)
        self.typestore = get_typestore(Stores.EMPTY)
        self.connections: list[Connection] = []
        self.skipped: list[str] = []
        for number, count in contents.counts.items():
            channel = contents.channels[number]
            schema = contents.schemas.get(channel.schema_id)
            if (
                schema is not None
                and _is_ros2(channel, schema)
                and register(self.typestore, schema.name, schema.encoding, schema.data)
            ):
                self.connections.append(self._connection(channel, schema, count))
            else:
                self.skipped.append(_describe(channel, schema))

    def messages(
        self, connections: Collection[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, time of recording in nanoseconds, data) of the connections' messages.

        They are in the order of time, except where the clock of the recorder was set back.

        Raises:
            DamageError: where the damage begins.
        """
        wanted = {item.id: item for item in connections or self.connections}
        messages = (
            record
            for record in _records(self._path)
            if isinstance(record, Message) and record.channel_id in wanted
        )
        for message in in_order(messages, attrgetter('log_time')):
            yield wanted[message.channel_id], message.log_time, message.data

    def deserialize(self, data: bytes, message_type: str) -> Any:
        """Return a message from its CDR form."""
        return self.typestore.deserialize_cdr(data, message_type)

    def close(self) -> None:
        """Do nothing: each iteration opens and closes the file itself."""

    def _connection(self, channel: Channel, schema: Schema, count: int) -> Connection:
        try:
            qos = parse_qos(channel.metadata.get('offered_qos_profiles', '') or [])
        except Exception:  # written by hand or by another program; only a copy of it is lost
            qos = []
        return Connection(
            channel.id,
            channel.topic,
            schema.name,
            MessageDefinition(FORMATS[schema.encoding], schema.data.decode()),
            '',
            count,
            ConnectionExtRosbag2(channel.message_encoding, qos),
            self,
        )


def _is_ros2(channel: Channel, schema: Schema) -> bool:
    return schema.encoding in FORMATS and channel.message_encoding == _MESSAGE_ENCODING


def _describe(channel: Channel, schema: Schema | None) -> str:
    kind = 'no schema' if schema is None else f'{schema.encoding} {schema.name}'
    return f'{channel.topic} ({channel.message_encoding}, {kind})'


@lru_cache(maxsize=8)
def _contents(path: Path, size: int, changed_ns: int) -> _Contents:
    """List the contents of a file; size and time of change make the cache notice changes."""
    return _indexed(path) or _scan(path)


def _indexed(path: Path) -> _Contents | None:
    """Return the contents according to the index; None if it does not list them."""
    try:
        with open_regular(path, _MAX_BYTES) as stream:
            summary = SeekingReader(stream).get_summary()
    except Exception:  # a truncated file can cause many kinds of error
        return None
    if summary is None or summary.statistics is None:
        return None
    statistics = summary.statistics
    counts = {key: n for key, n in statistics.channel_message_counts.items() if n}
    channels = [summary.channels.get(key) for key in counts]
    listed = all(
        channel is not None and (not channel.schema_id or channel.schema_id in summary.schemas)
        for channel in channels
    )
    if not listed or sum(counts.values()) != statistics.message_count:
        return None
    start_ns, end_ns = statistics.message_start_time, statistics.message_end_time
    return _Contents(summary.channels, summary.schemas, counts, start_ns, end_ns, None)


def _scan(path: Path) -> _Contents:
    channels: dict[int, Channel] = {}
    schemas: dict[int, Schema] = {}
    counts: dict[int, int] = {}
    start_ns, end_ns, damage = 2**63, 0, None
    try:
        for record in _records(path):
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                counts[record.channel_id] = counts.get(record.channel_id, 0) + 1
                start_ns, end_ns = min(start_ns, record.log_time), max(end_ns, record.log_time)
    except DamageError as error:
        damage = error
    # The definitions may have been lost with a chunk; a file repeats them at its end.
    counts = {number: count for number, count in counts.items() if number in channels}
    return _Contents(channels, schemas, counts, min(start_ns, end_ns), end_ns, damage)


def _records(path: Path) -> Iterator[McapRecord]:
    """Yield the records, and those in chunks.

    Raises:
        DamageError: where the damage begins; or at the end, if there were fewer messages than
            the file announces.
    """
    read = indexed = announced = 0
    complete = False
    with open_regular(path, _MAX_BYTES) as stream:
        size = path.stat().st_size
        reader = StreamReader(stream, emit_chunks=True, validate_crcs=True, record_size_limit=size)
        try:
            for record in _in_chunks(reader.records):
                if isinstance(record, Message):
                    read += 1
                    complete = False
                elif isinstance(record, MessageIndex):
                    indexed += len(record.records)
                elif isinstance(record, Statistics):
                    announced = record.message_count
                elif isinstance(record, DataEnd):
                    complete = True
                yield record
        except UnsupportedCompressionError as error:
            raise SourceError(
                f'{path} cannot be read: {error}; pip install lz4 zstandard'
            ) from error
        except MemoryError as error:
            raise SourceError(f'{path} cannot be read as a bag: {reason(error)}') from error
        except Exception as error:  # a damaged file can cause many kinds of error
            # All messages stand before the end of the data; only the index follows.
            if not complete:
                raise _damage(path, stream.tell(), size, read > 0, error) from error
            _warn_of_index(path, reason(error))
    if read < max(indexed, announced):
        raise DamageError(
            f'{path} is damaged: it announces {max(indexed, announced)} messages, but only {read} '
            'can be read'
        )


def _in_chunks(records: Iterable[McapRecord]) -> Iterator[McapRecord]:
    """Replace each chunk by its records."""
    for record in records:
        if not isinstance(record, Chunk):
            yield record
            continue
        if record.uncompressed_size > _MAX_CHUNK:
            raise MemoryError
        yield from breakup_chunk(record, validate_crc=True)


@lru_cache(maxsize=64)
def _warn_of_index(path: Path, detail: str) -> None:
    """Report a damaged index, once for each file: a recording may be read several times."""
    _log.warning('%s: the index at its end is damaged (%s) and was not needed', path, detail)


def _damage(path: Path, place: int, size: int, messages: bool, error: Exception) -> DamageError:
    detail = reason(error)
    if not messages:
        return DamageError(f'{path} cannot be read as a bag, it is damaged: {detail}')
    if place == size:
        return DamageError(
            f'{path} is truncated, for example because its recorder was killed. '
            'Everything before the damage was read'
        )
    return DamageError(
        f'{path} is damaged before byte {place} of {size} ({detail}). '
        'Everything before the damage was read'
    )
