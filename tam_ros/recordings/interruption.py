# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C without a half-written file: work in pieces asks between two of them whether to stop."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType


class Interruption:
    """Notes SIGINT and SIGTERM while its block runs, instead of breaking off wherever they come.

    Leave the block with the outputs closed, then call `raise_if_requested`. In another thread than
    the main one nothing is caught, since Python delivers signals there alone.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether the work should stop."""
        return self._received is not None

    def raise_if_requested(self) -> None:
        """End the program as the signal would have ended it.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
            SystemExit: of status 143, as shells report it, after SIGTERM.
        """
        if self._received == signal.SIGINT:
            raise KeyboardInterrupt
        if self._received is not None:
            sys.exit(128 + self._received)

    def __enter__(self) -> Interruption:
        """Begin to catch the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # A shell has its background jobs ignore Ctrl-C, and that is to stay so.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the signals to whom they belonged before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
