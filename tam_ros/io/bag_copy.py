# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Copies topics of a bag into another one, in step with the results that go there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tam_ros.io.bag_reader import reading
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.frames import SourceError


def topics_to_copy(path: str | Path) -> tuple[list[str], dict[str, str]]:
    """List the topics of a bag that hold a message.

    Returns:
        Their names, sorted, and for those that cannot be copied their message type by name: bags
        of early distributions do not carry its definition.

    Raises:
        SourceError: no readable bag.
    """
    with reading(Path(path)) as reader:
        types = {item.topic: item.msgtype for item in reader.connections if item.msgcount}
        known = reader.typestore.fielddefs
    undefined = {topic: kind for topic, kind in types.items() if kind not in known}
    return sorted(types.keys() - undefined), undefined


class _Message(NamedTuple):
    time_ns: int
    write: Callable[[], None]


class BagCopy:
    """Topics of a bag on their way into a new one, as they are: definitions, QoS, times.

    The new bag stays in the order of time when `until` is called before each result is written.
    """

    def __init__(self, path: str | Path, topics: Collection[str], bag: BagWriter) -> None:
        """Open the source.

        Args:
            path: of a bag of any kind.
            topics: names of topics to copy.
            bag: to copy them into.

        Raises:
            SourceError: no readable bag.
        """
        self._messages = _copying(Path(path), topics, bag)
        self._error: SourceError | None = None
        self._next: _Message | None = None
        self._read()

    def until(self, time_ns: int) -> None:
        """Copy the messages recorded up to a time, nanoseconds, that included.

        Raises:
            BagWriteError: the new bag takes no more.
        """
        while self._next is not None and self._next.time_ns <= time_ns:
            self._next.write()
            self._read()

    def rest(self) -> None:
        """Copy all that is left.

        Raises:
            SourceError: the source is damaged; the messages before the damage have been copied.
            BagWriteError: the new bag takes no more.
        """
        while self._next is not None:
            self._next.write()
            self._read()
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        # Damage further on must not keep results from being written that belong before it.
        try:
            self._next = next(self._messages, None)
        except SourceError as error:
            self._error, self._next = error, None


def _copying(path: Path, topics: Collection[str], bag: BagWriter) -> Iterator[_Message]:
    with reading(path) as reader:
        connections = [item for item in reader.connections if item.topic in topics]
        if not connections:
            return
        append = bag.add_source(reader, connections)
        for connection, time_ns, data in reader.messages(connections):
            yield _Message(time_ns, partial(append, connection, time_ns, data))
