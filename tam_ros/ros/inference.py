# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The one thread that owns the tracker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, TypeVar

from tam_ros.ros.mailbox import ClosedError, Mailbox
from tam_ros.ros.session import Session

T = TypeVar('T')

PATIENCE_S = 10.0
"""Seconds that the thread is waited for when it is to end. What hangs in a driver is left behind,
for the end of the process to take with it."""

LOADING_PATIENCE_S = 2.0
"""The same while it loads. A library that loads or compiles does not let itself be interrupted."""


class BusyError(RuntimeError):
    """The inference thread did not come round to a request, which was taken back."""


class InferenceThread(Generic[T]):
    """Opens, uses and frees a tracker in a single thread.

    Device memory belongs to the thread that made it, and a tracker takes one call at a time; so
    every access goes through here. Items are worked on newest first, the ones between are dropped.
    """

    def __init__(
        self, open_session: Callable[[], Session], work: Callable[[Session, T], None]
    ) -> None:
        """Start the thread and wait until the session is open.

        Args:
            open_session: makes the session; called in the thread.
            work: does what an item asks for; called in the thread; must not raise.

        Raises:
            Exception: whatever `open_session` raised.
        """
        self._mailbox: Mailbox[T] = Mailbox()
        self._open_session = open_session
        self._work = work
        self._busy_since: float | None = None
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name='inference', daemon=True
        )
        self._thread.start()
        try:
            opened.result()
        except BaseException:
            # Interrupted while it loads, too: the thread should not outlive this.
            self.stop(LOADING_PATIENCE_S)
            raise

    @property
    def busy_s(self) -> float:
        """For how many seconds the present item has been worked on; 0: there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def waiting(self) -> int:
        """How many requests wait for the present item to be done."""
        return self._mailbox.waiting

    def submit(self, item: T) -> bool:
        """Leave the newest item, without waiting; return whether another was dropped for it."""
        return self._mailbox.put(item)

    def request(self, question: Callable[[Session], Any]) -> Future:
        """Have `question` called between two items; the future holds what it returns or raises.

        Raises:
            BusyError: the thread has ended.
        """
        try:
            return self._mailbox.call(lambda: question(self._session))
        except ClosedError:
            raise BusyError('the node is shutting down') from None

    def ask(self, question: Callable[[Session], Any], timeout_s: float = 10.0) -> Any:
        """Call `question` between two items; return its result, or raise what it raised.

        Raises:
            BusyError: it was not called within `timeout_s` seconds, or the thread ended; nothing
                was changed.
        """
        future = self.request(question)
        try:
            try:
                return future.result(timeout_s)
            except FutureTimeoutError:
                if future.cancel():
                    raise BusyError(f'the tracker was busy for over {timeout_s:g} s') from None
                return future.result()  # has begun: the answer must not be lost
        except CancelledError:
            raise BusyError('the node is shutting down') from None

    def stop(self, patience_s: float = PATIENCE_S) -> bool:
        """Finish the item being worked on and free the tracker.

        Args:
            patience_s: how long to wait for that.

        Returns:
            Whether it has ended.
        """
        self._mailbox.close()
        self._thread.join(patience_s)
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
                self._work(self._session, item)
                self._busy_since = None
        finally:
            self._session.tracker.close()
