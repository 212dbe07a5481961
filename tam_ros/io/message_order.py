# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Messages of a bag in the order of time, also where the clock of the recorder was set back."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tam_ros.io.frames import SourceError

Item = TypeVar('Item')

_REORDER_NS = 200_000_000  # recorders write messages of different topics out of order by less


class DamageError(SourceError):
    """The file is truncated or corrupt from here on; everything before it has been read."""


def in_order(messages: Iterable[Item], time_of: Callable[[Item], int]) -> Iterator[Item]:
    """Sort messages by time that were written a little out of order.

    Messages are held until one is later by `_REORDER_NS`. One that is earlier by more than that
    was recorded after the clock had been set back: what is held comes before it.

    Args:
        messages: in the order in which they were written.
        time_of: returns the time of recording of a message, nanoseconds.

    Raises:
        DamageError: raised by `messages`; all messages before it have been yielded.
    """
    held: list[tuple[int, int, Item]] = []
    newest = 0
    damage: DamageError | None = None
    try:
        for count, message in enumerate(messages):
            time_ns = time_of(message)
            if time_ns < newest - _REORDER_NS:
                while held:
                    yield heapq.heappop(held)[2]
                newest = time_ns
            newest = max(newest, time_ns)
            heapq.heappush(held, (time_ns, count, message))
            while held[0][0] <= newest - _REORDER_NS:
                yield heapq.heappop(held)[2]
    except DamageError as error:
        damage = error
    while held:
        yield heapq.heappop(held)[2]
    if damage is not None:
        raise damage
