# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The thread that owns the tracker, and the mailbox through which it receives its work."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from typing import Any, Generic, TypeVar

from tam_ros.closing import Closing

S = TypeVar('S', bound=Closing)
T = TypeVar('T')

STOP_TIMEOUT_S = 10.0
"""Seconds to wait for the end of the thread. A call that hangs in a driver is abandoned and ends
with the process."""

LOADING_STOP_TIMEOUT_S = 2.0
"""The same while the model is loaded. A library that loads or compiles cannot be interrupted."""

LINGER_S = 0.005
"""How long an item waits after a call for another call: a client that has its answer may send its
next request, which then does not have to wait for the item."""

MAX_LINGER_S = 0.05
"""How long an item waits for more calls in total."""

_POLL_S = 0.05  # how often a wait looks whether it is interrupted


class InterruptedOpeningError(Exception):
    """The process is to end while a session is opened."""


class BusyError(RuntimeError):
    """The inference thread did not start a call, which was cancelled."""


class ClosedError(Exception):
    """The mailbox is closed."""


class InferenceThread(Generic[S, T]):
    """Opens, uses and closes a session with a tracker in a single thread.

    Device memory belongs to the thread that allocated it, and a tracker is not thread-safe, so
    every access runs here. If items arrive faster than they are processed, only the newest
    one is kept.
    """

    def __init__(
        self,
        open_session: Callable[[], S],
        process: Callable[[S, T], None],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start the thread and wait until the session is open.

        Args:
            open_session: makes the session; called in the thread.
            process: processes an item; called in the thread; must not raise.
            interrupted: polled while a thread waits for this one; True ends the wait.

        Raises:
            InterruptedOpeningError: `interrupted` returned True meanwhile.
            Exception: any exception that `open_session` raises.
        """
        self._mailbox: Mailbox[T] = Mailbox()
        self._open_session = open_session
        self._process = process
        self._interrupted = interrupted
        self._busy_since: float | None = None
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name='inference', daemon=True
        )
        self._thread.start()
        try:
            if not self._wait(opened, None):
                raise InterruptedOpeningError
            opened.result()
        except BaseException:
            # Also after an interrupt while it loads: the thread should not outlive this object.
            self.stop(LOADING_STOP_TIMEOUT_S)
            raise

    @property
    def busy_s(self) -> float:
        """Seconds for which the current item has been processed; 0: there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def waiting(self) -> int:
        """Number of calls that wait."""
        return self._mailbox.waiting

    def submit(self, item: T) -> bool:
        """Submit the newest item, without waiting; return whether it replaced another one."""
        return self._mailbox.put(item)

    def schedule(self, function: Callable[[S], Any]) -> Future:
        """Schedule a call of `function` between two items, without waiting.

        Returns:
            The future of what `function` returns or raises. It can be cancelled until the call
            starts.

        Raises:
            BusyError: the thread has ended.
        """
        try:
            return self._mailbox.schedule(lambda: function(self._session))
        except ClosedError:
            raise BusyError('the node is shutting down') from None

    def call(self, function: Callable[[S], Any], timeout_s: float = 10.0) -> Any:
        """Call `function` between two items; return what it returns, or raise what it raises.

        Raises:
            BusyError: it was not called within `timeout_s` seconds, or the thread has ended;
                nothing was changed.
        """
        future = self.schedule(function)
        try:
            if not self._wait(future, timeout_s) and future.cancel():
                if self._interrupted():
                    raise BusyError('the node is shutting down')
                raise BusyError(f'the tracker was busy for over {timeout_s:g} s')
            return future.result()  # a call that has started: its result must not be lost
        except CancelledError:
            raise BusyError('the node is shutting down') from None

    def _wait(self, future: Future, timeout_s: float | None) -> bool:
        """Wait for a future, at most `timeout_s` seconds; return whether it is done."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._interrupted():
            left = _POLL_S if end is None else min(_POLL_S, end - time.monotonic())
            wait([future], max(left, 0.0))
            if future.done():
                return True
            if end is not None and time.monotonic() >= end:
                break
        return future.done()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Finish the current item and close the session.

        Args:
            timeout_s: how long to wait.

        Returns:
            Whether the thread has ended.
        """
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, opened: Future[None]) -> None:
        try:
            self._session = self._open_session()
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        try:
            while (item := self._mailbox.take()) is not None:
                self._busy_since = time.monotonic()
                self._process(self._session, item)
                self._busy_since = None
        finally:
            self._session.close()


class Mailbox(Generic[T]):
    """The newest item, and a queue of calls that are made before it is taken.

    A tracker that is slower than its camera must process the newest image, not the oldest one of
    a queue. An item that is replaced before it is taken is dropped. Calls are never dropped.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._calls: deque[tuple[Callable[[], Any], Future]] = deque()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Number of calls that wait."""
        return len(self._calls)

    def put(self, item: T) -> bool:
        """Put the newest item; return whether it replaced another one, which is dropped."""
        with self._changed:
            if self._closed:
                return False
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
            return replaced

    def schedule(self, function: Callable[[], Any]) -> Future:
        """Schedule a call of `function` in the taking thread, before it takes the next item.

        Raises:
            ClosedError: the mailbox is closed.
        """
        future: Future = Future()
        with self._changed:
            if self._closed:
                raise ClosedError
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def take(self) -> T | None:
        """Make the waiting calls, then wait for an item and return it; None: closed."""
        linger_until = linger_until_at_most = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or self._calls or self._item is not None
                )
                left = min(linger_until, linger_until_at_most) - time.monotonic()
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
                except Exception as error:  # for the caller
                    future.set_exception(error)
            linger_until = time.monotonic() + LINGER_S
            linger_until_at_most = linger_until_at_most or time.monotonic() + MAX_LINGER_S

    def close(self) -> None:
        """Wake the taking thread and cancel the waiting calls."""
        with self._changed:
            self._closed = True
            self._item = None
            calls, self._calls = self._calls, deque()
            self._changed.notify_all()
        for _, future in calls:
            future.cancel()
