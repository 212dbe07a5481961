# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reads MCAP files whose end is missing, for example because the recorder was killed.

An MCAP file is a sequence of self-contained records; the index at its end only speeds up access.
The records before the damage are read in the order in which they were written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mcap.records import Channel, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from tam_ros.io.frames import SourceError

_FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}


class DamageError(SourceError):
    """The file is truncated or corrupt from here on; everything before it has been read."""


class _Contents(NamedTuple):
    """What can be read of a file.

    Attributes:
        channels: by id.
        schemas: by id.
        counts: number of messages by channel id.
        start_ns: time of the first message, nanoseconds.
        end_ns: time of the last message, nanoseconds.
        damaged: whether the file is damaged.
    """

    channels: dict[int, Channel]
    schemas: dict[int, Schema]
    counts: dict[int, int]
    start_ns: int
    end_ns: int
    damaged: bool


class SalvagedMcap:
    """The undamaged part of an MCAP file, with the interface of `rosbags.highlevel.AnyReader`.

    Attributes:
        connections: topics with at least one message.
        typestore: their message types.
        duration: from the first message to the last, nanoseconds.
        message_count: number of messages before the damage.
        damaged: whether the file is damaged.
    """

    is2 = True

    def __init__(self, path: Path) -> None:
        """Read the file once to list its contents.

        Raises:
            OSError: the file cannot be opened.
        """
        self._path = path
        status = path.stat()
        contents = _scan(path, status.st_size, status.st_mtime_ns)
        self.damaged = contents.damaged
        self.message_count = sum(contents.counts.values())
        self.duration = contents.end_ns - contents.start_ns
        schemas = [contents.schemas[contents.channels[key].schema_id] for key in contents.counts]
        self.typestore = _typestore(schemas)
        self.connections = [
            self._connection(contents.channels[key], schema, contents.counts[key])
            for key, schema in zip(contents.counts, schemas, strict=True)
        ]

    def messages(
        self, connections: Collection[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, time of recording in nanoseconds, data) of the connections' messages.

        Raises:
            DamageError: where the damage begins.
        """
        wanted = {item.id: item for item in connections or self.connections}
        for record in _records(self._path):
            if isinstance(record, Message) and record.channel_id in wanted:
                yield wanted[record.channel_id], record.log_time, record.data

    def deserialize(self, data: bytes, message_type: str) -> Any:
        """Return a message from its CDR form."""
        return self.typestore.deserialize_cdr(data, message_type)

    def close(self) -> None:
        """Do nothing: each iteration opens and closes the file itself."""

    def _connection(self, channel: Channel, schema: Schema, count: int) -> Connection:
        qos = channel.metadata.get('offered_qos_profiles', '')
        return Connection(
            channel.id,
            channel.topic,
            schema.name,
            MessageDefinition(_FORMATS[schema.encoding], schema.data.decode()),
            '',
            count,
            ConnectionExtRosbag2(channel.message_encoding, parse_qos(qos) if qos else []),
            self,
        )


@lru_cache(maxsize=4)
def _scan(path: Path, size: int, changed_ns: int) -> _Contents:
    """List the contents of a file; size and time of change make the cache notice changes."""
    channels: dict[int, Channel] = {}
    schemas: dict[int, Schema] = {}
    counts: dict[int, int] = {}
    start_ns, end_ns, damaged = 2**63, 0, False
    try:
        for record in _records(path):
            if isinstance(record, Schema) and record.encoding in _FORMATS:
                schemas[record.id] = record
            elif isinstance(record, Channel) and record.schema_id in schemas:
                channels[record.id] = record
            elif isinstance(record, Message) and record.channel_id in channels:
                counts[record.channel_id] = counts.get(record.channel_id, 0) + 1
                start_ns, end_ns = min(start_ns, record.log_time), max(end_ns, record.log_time)
    except DamageError:
        damaged = True
    return _Contents(channels, schemas, counts, min(start_ns, end_ns), end_ns, damaged)


def _records(path: Path) -> Iterator[McapRecord]:
    with path.open('rb') as stream:
        size = path.stat().st_size
        reader = StreamReader(stream, validate_crcs=True, record_size_limit=size)
        try:
            yield from reader.records
        except Exception as error:  # a damaged file can cause many kinds of error
            if stream.tell() == size:
                raise DamageError(
                    f'{path} is truncated, for example because its recorder was killed. '
                    'Everything before the damage was read'
                ) from error
            detail = str(error) or type(error).__name__
            raise DamageError(
                f'{path} is damaged before byte {stream.tell()} of {size} ({detail}). '
                'Everything before the damage was read'
            ) from error


def _typestore(schemas: Collection[Schema]) -> Typestore:
    store = get_typestore(Stores.EMPTY)
    definitions = {}
    for schema in schemas:
        text = schema.data.decode()
        if schema.encoding == 'ros2msg':
            definitions.update(get_types_from_msg(text, schema.name))
            continue
        for part in text.split('=' * 80 + '\n'):
            head, _, body = part.partition('\n')
            if part.strip():
                definitions.update(get_types_from_idl(body if head.startswith('IDL: ') else part))
    store.register(definitions)
    return store
