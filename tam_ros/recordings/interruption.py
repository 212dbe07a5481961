# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Signals without half-written files: they are recorded; the loop stops between two frames.

SIGTERM and SIGHUP, which a closed terminal or SSH connection sends, end a run like Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Records SIGINT, SIGTERM and SIGHUP during its `with` block; they do not interrupt a write.

    After the block, when the outputs are closed, call `raise_if_requested`. Only the main thread
    can catch signals; in other threads this does nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the work should stop."""
        return self._received is not None

    def raise_if_requested(self) -> None:
        """Raise what the signal would have caused; return if there was none.

        Raises:
            KeyboardInterrupt: after SIGINT (Ctrl-C).
            SystemExit: after SIGTERM, and after SIGHUP (a closed terminal or SSH connection), with
                the status that shells report: 143 and 129.
        """
        if self._received == signal.SIGINT:
            raise KeyboardInterrupt
        if self._received is not None:
            sys.exit(128 + self._received)

    def __enter__(self) -> Interruption:
        """Catch the signals from now on."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # Shells start background jobs with SIGINT ignored, nohup ignores SIGHUP; an
                # ignored signal must stay ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if number == signal.SIGHUP:
            _forget_terminal()


@contextlib.contextmanager
def ending_by_exception() -> Iterator[None]:
    """End the block with SystemExit on SIGTERM and SIGHUP, so that temporary files are removed."""

    def end(number: int, frame: FrameType | None) -> None:
        for other in previous:
            signal.signal(other, signal.SIG_IGN)  # the end is not interrupted by a second one
        if number == signal.SIGHUP:
            _forget_terminal()
        sys.exit(128 + number)

    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for one in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) is signal.SIG_DFL:
                previous[one] = signal.signal(one, end)
    try:
        yield
    finally:
        for caught, handler in previous.items():
            signal.signal(caught, handler)


def _forget_terminal() -> None:
    """Discard what would be printed to a terminal that is gone, where it would be an error."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                with open(os.devnull, 'wb') as nowhere:
                    os.dup2(nowhere.fileno(), descriptor)
