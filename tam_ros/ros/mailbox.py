# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Between the threads that receive and the one that infers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar('T')

LINGER_S = 0.005
"""After a call, how long an item waits for a further one: whoever has an answer may ask again, and
should not have to wait for the item to be worked on. An item waits `MOST_LINGER_S` at most."""

MOST_LINGER_S = 0.05


class ClosedError(Exception):
    """The mailbox takes nothing any more."""


class Mailbox(Generic[T]):
    """Room for the newest item, and a queue of calls that go before it.

    A tracker that is slower than its camera must see the newest image, not the oldest of a queue.
    An item that is replaced before it was taken is dropped. Calls are never dropped.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._calls: deque[tuple[Callable[[], Any], Future]] = deque()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._calls)

    def put(self, item: T) -> bool:
        """Leave the newest item; return whether one still lay there, which is dropped."""
        with self._changed:
            if self._closed:
                return False
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
            return replaced

    def call(self, function: Callable[[], Any]) -> Future:
        """Have `function` called by the taking thread before it takes the next item.

        Raises:
            ClosedError: nobody will take it any more.
        """
        future: Future = Future()
        with self._changed:
            if self._closed:
                raise ClosedError
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def take(self) -> T | None:
        """Run the calls that wait, then wait for an item and return it; None: closed."""
        linger_until = until_at_most = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or self._calls or self._item is not None
                )
                left = min(linger_until, until_at_most) - time.monotonic()
                if left > 0:
                    self._changed.wait_for(lambda: self._closed or self._calls, left)
                if self._closed:
                    return None
                if not self._calls:
                    item, self._item = self._item, None
                    if item is not None:
                        return item
                    continue
                function, future = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:  # belongs to whoever asked
                    future.set_exception(error)
            linger_until = time.monotonic() + LINGER_S
            until_at_most = until_at_most or time.monotonic() + MOST_LINGER_S

    def close(self) -> None:
        """Wake the taking thread for the last time; calls that still wait are cancelled."""
        with self._changed:
            self._closed = True
            self._item = None
            calls, self._calls = self._calls, deque()
            self._changed.notify_all()
        for _, future in calls:
            future.cancel()
