# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Ends the node on SIGINT, SIGTERM and SIGHUP: always in the same way, and in limited time.

The handlers of rclpy are not used. Its thread wakes the executor first and shuts the context down
afterwards (`setup_deferred_signal_handler` in rclpy/src/rclpy/signal_handler.cpp). An executor
that is quick finds the context valid, waits again, and nothing wakes it a second time. SIGINT has
this fault as well, but there Python raises KeyboardInterrupt. rclpy does not handle SIGHUP.
"""

from __future__ import annotations

import faulthandler
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from rclpy.executors import Executor
from rclpy.node import Node

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; what service managers and `ros2 launch` send; the end of a terminal or ssh session."""

END_TIMEOUT_S = 15.0
"""Seconds after a signal at which the process is ended, whatever it does. Closing a tracker that
hangs in a driver takes ten of them; see `inference.STOP_TIMEOUT_S`."""


class EndSignals:
    """Records the signals of `SIGNALS` during its `with` block, and wakes the executor.

    Python runs its handlers in the main thread, between two instructions of Python, so never while
    that thread waits for messages. A byte that the interpreter writes to a socket when a signal
    arrives reaches a thread that waits for it.
    """

    def __init__(self, timeout_s: float = END_TIMEOUT_S) -> None:
        """Change nothing yet.

        Args:
            timeout_s: seconds after a signal at which the process is ended with status 1; the
                stacks of its threads are written to stderr.
        """
        self._timeout_s = timeout_s
        self._received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def requested(self) -> bool:
        """Return whether the process is to end; from any thread."""
        return self._received is not None

    @property
    def received(self) -> str:
        """Name of the signal, such as `SIGTERM`; empty: there was none."""
        return self._received.name if self._received is not None else ''

    def spin(self, executor: Executor, node: Node) -> None:
        """Execute callbacks until a signal arrives or the context of the node is shut down.

        Args:
            executor: an executor that has the node.
            node: the node; a guard condition of it wakes the executor.
        """
        # A triggered guard condition stays triggered until the executor has run its callback, so a
        # signal just before the executor waits is not missed.
        guard = node.create_guard_condition(lambda: None)
        with self._lock:
            self._wake = guard.trigger
        try:
            while not self.requested() and node.context.ok():
                executor.spin_once()
        finally:
            with self._lock:
                self._wake = None
            node.destroy_guard_condition(guard)

    def __enter__(self) -> EndSignals:
        """Catch the signals from now on; only in the main thread."""
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        for number in SIGNALS:
            # `nohup` starts a process with SIGHUP ignored; it must stay ignored.
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._previous[number] = signal.signal(number, _continue)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name='signals', daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the previous handlers. After a signal, the limit of the time stays."""
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            # After a signal the process is ending: another one must not interrupt this.
            if not self.requested():
                signal.signal(number, handler)
        self._writer.close()  # ends the thread
        self._thread.join()
        self._reader.close()

    def _watch(self) -> None:
        while received := self._reader.recv(64):
            for number in received:
                if number in self._previous and not self.requested():
                    self._end(signal.Signals(number))

    def _end(self, number: signal.Signals) -> None:
        # A thread without Python: it also ends a process whose threads all hang.
        faulthandler.dump_traceback_later(self._timeout_s, exit=True)
        with self._lock:
            self._received = number
            if self._wake is not None:
                self._wake()


def _continue(number: int, frame: FrameType | None) -> None:
    """Do nothing: the thread has been told."""
