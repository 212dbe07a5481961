# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Copies topics of a bag into another bag, in time order with the results written there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tam_ros.io.bag_reader import open_bag
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.frames import SourceError


def topics_to_copy(path: str | Path) -> tuple[list[str], dict[str, str]]:
    """List the topics of a bag that have messages.

    Returns:
        The names of those that can be copied, sorted; and the message types of the others by
        name. Those lack the message definition, as in bags of early ROS 2 distributions.

    Raises:
        SourceError: the bag cannot be read.
    """
    with open_bag(Path(path)) as reader:
        types = {item.topic: item.msgtype for item in reader.connections if item.msgcount}
        known = reader.typestore.fielddefs
    undefined = {topic: kind for topic, kind in types.items() if kind not in known}
    return sorted(types.keys() - undefined), undefined


class _Message(NamedTuple):
    time_ns: int
    write: Callable[[], None]


class BagCopy:
    """Copies topics of a bag into a new one unchanged, with definitions, QoS and times.

    Call `copy_until` before each result is written, so that the new bag is in time order.
    """

    def __init__(self, path: str | Path, topics: Collection[str], bag: BagWriter) -> None:
        """Open the source.

        Args:
            path: a bag of any kind.
            topics: names of the topics to copy.
            bag: the new bag.

        Raises:
            SourceError: the source cannot be read.
        """
        self._messages = _messages(Path(path), topics, bag)
        self._error: SourceError | None = None
        self._next: _Message | None = None
        self._read()

    def copy_until(self, time_ns: int) -> None:
        """Copy the messages recorded up to and including a time in nanoseconds.

        Raises:
            BagWriteError: the new bag cannot be written.
        """
        while self._next is not None and self._next.time_ns <= time_ns:
            self._next.write()
            self._read()

    def copy_rest(self) -> None:
        """Copy the remaining messages.

        Raises:
            SourceError: the source is damaged; the messages before the damage have been copied.
            BagWriteError: the new bag cannot be written.
        """
        while self._next is not None:
            self._next.write()
            self._read()
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        # Results that belong before the damage must still be written, so the error waits.
        try:
            self._next = next(self._messages, None)
        except SourceError as error:
            self._error, self._next = error, None


def _messages(path: Path, topics: Collection[str], bag: BagWriter) -> Iterator[_Message]:
    with open_bag(path) as reader:
        connections = [item for item in reader.connections if item.topic in topics]
        if not connections:
            return
        append = bag.add_source(reader, connections)
        for connection, time_ns, data in reader.messages(connections):
            yield _Message(time_ns, partial(append, connection, time_ns, data))
