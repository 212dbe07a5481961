# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C without half-written files: signals are recorded; the loop stops between two frames."""

from __future__ import annotations

import signal
import sys
import threading
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
