# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reads SQLite files of rosbag2, in the order in which their messages were written.

Sorted by time, as `ros2 bag play` reads them, messages from before and after a step of the
recorder's clock would be mixed. What stands before a damage is read, and so is what a recorder
that was killed has left in its write-ahead log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_typestore

from tam_ros.io.frames import SourceError
from tam_ros.io.message_definitions import FORMATS, register
from tam_ros.io.message_order import DamageError, in_order
from tam_ros.reading import reason
from tam_ros.regular_file import open_regular

_MAX_BYTES = 1 << 63
_CDR = 'cdr'


class SqliteFile:
    """The readable part of a file, with the interface of `rosbags.highlevel.AnyReader`.

    Attributes:
        connections: topics with at least one ROS 2 message.
        typestore: their message types.
        skipped: a description of each topic that cannot be read.
    """

    is2 = True

    def __init__(self, path: Path) -> None:
        """List the contents of the file.

        Raises:
            SourceError: it is not a bag, or damaged before the first message.
            OSError: the file cannot be opened.
        """
        self._path = path
        # Bags of early distributions have no definitions.
        self.typestore = get_typestore(Stores.ROS2_HUMBLE)
        self.connections: list[Connection] = []
        self.skipped: list[str] = []
        open_regular(path, _MAX_BYTES).close()
        with closing(self._connect()) as database:
            try:
                topics = _rows(database, 'topics')
                definitions = {
                    row.get('topic_type'): row for row in _rows(database, 'message_definitions')
                }
                counts = self._counts(database)
            except sqlite3.Error as error:
                raise SourceError(f'{path} cannot be read as a bag: {reason(error)}') from error
        if not topics:
            raise SourceError(f'{path} cannot be read as a bag: it has no topics')
        unlisted = sum(counts.values()) - sum(counts.get(topic.get('id'), 0) for topic in topics)
        if unlisted:
            self.skipped.append(f'{unlisted} whose topic is not listed')
        for topic in topics:
            count = counts.get(topic.get('id'), 0)
            if count:
                self._add(topic, definitions.get(topic.get('type'), {}), count)

    def messages(
        self, connections: Collection[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, time of recording in nanoseconds, data) of the connections' messages.

        They are in the order of time, except where the clock of the recorder was set back.

        Raises:
            DamageError: where the damage begins.
        """
        wanted = {item.id: item for item in connections or self.connections}
        with closing(self._connect()) as database:
            messages = _messages(database, self._path, list(wanted))
            for _, number, time, data in in_order(messages, itemgetter(0)):
                yield wanted[number], time, data

    def deserialize(self, data: bytes, message_type: str) -> Any:
        """Return a message from its CDR form."""
        return self.typestore.deserialize_cdr(data, message_type)

    def _connect(self) -> sqlite3.Connection:
        address = f'file:{quote(str(self._path.absolute()))}'
        log = self._path.with_name(f'{self._path.name}-wal')
        # Immutable files are read without locks, also from read-only disks, but without the log.
        if log.exists() and log.stat().st_size:
            connection = sqlite3.connect(f'{address}?mode=ro', uri=True)
            try:
                connection.execute('SELECT COUNT(*) FROM sqlite_master')
            except sqlite3.Error:  # the folder is not writable
                connection.close()
            else:
                return connection
        return sqlite3.connect(f'{address}?immutable=1', uri=True)

    def _counts(self, database: sqlite3.Connection) -> dict[Any, int]:
        """Return the number of messages by the id of their topic, of a damaged file those before.

        Raises:
            sqlite3.Error: there are none.
        """
        counts: dict[Any, int] = {}
        with suppress(sqlite3.Error):  # damaged: counted one by one up to there
            return dict(
                database.execute('SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id')
            )
        try:
            for (number,) in database.execute('SELECT topic_id FROM messages ORDER BY id'):
                counts[number] = counts.get(number, 0) + 1
        except sqlite3.Error:
            if not counts:
                raise
        return counts

    def _add(self, topic: dict[str, Any], definition: dict[str, Any], count: int) -> None:
        name, kind = str(topic.get('name')), str(topic.get('type'))
        encoding = str(definition.get('encoding'))
        text: Any = definition.get('encoded_message_definition')
        serialized = str(topic.get('serialization_format'))
        if serialized != _CDR:
            self.skipped.append(f'{name} ({serialized}, {kind})')
            return
        about = MessageDefinition(MessageDefinitionFormat.NONE, '')
        is_known = encoding in FORMATS and isinstance(text, str)
        if is_known and register(self.typestore, kind, encoding, text):
            about = MessageDefinition(FORMATS[encoding], text)
        try:
            qos = parse_qos(topic.get('offered_qos_profiles') or [])
        except Exception:  # written by another program; only a copy of it is lost
            qos = []
        digest = topic.get('type_description_hash')
        self.connections.append(
            Connection(
                topic.get('id'),  # type: ignore[arg-type] # SQLite has it of any type
                name,
                kind,
                about,
                digest if isinstance(digest, str) else '',
                count,
                ConnectionExtRosbag2(serialized, qos),
                self,
            )
        )


def _rows(database: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table by the names of its columns; none if there is no such table."""
    known = database.execute(
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    )
    if not known.fetchone()[0]:
        return []
    found = database.execute(f'SELECT * FROM {table} ORDER BY id')  # noqa: S608 - a constant
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _messages(
    database: sqlite3.Connection, path: Path, topics: list[Any]
) -> Iterator[tuple[int, Any, Any, bytes]]:
    """Yield (time to sort by, topic id, time as it is stored, data) of topics, as written.

    SQLite stores values of any type; a message without a valid time stays where it is.
    """
    read = 0
    time_ns = 0
    try:
        for number, time, data in database.execute(
            'SELECT topic_id, timestamp, data FROM messages '
            f'WHERE topic_id IN ({", ".join("?" * len(topics))}) ORDER BY id',
            topics,
        ):
            read += 1
            time_ns = time if type(time) is int and time >= 0 else time_ns
            yield time_ns, number, time, data if isinstance(data, bytes) else b''
    except sqlite3.Error as error:
        raise DamageError(
            f'{path} is damaged after {read} messages ({reason(error)}). Everything before the '
            'damage was read'
        ) from error
