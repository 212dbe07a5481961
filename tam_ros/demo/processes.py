# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive their parent."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class ChildProcess:
    """One Python module run as a process group of its own, its output in a log file.

    In its own group it does not receive the Ctrl-C of the terminal before its parent has finished.
    `stop` ends it, also at exit; the kernel ends it if the parent is killed.
    """

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        """Start `python -m module arguments...`."""
        self.name = module
        self.log = log
        self._output = log.open('wb')
        self._process = subprocess.Popen(
            [sys.executable, '-m', module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._process.poll()

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines of the log."""
        text = self.log.read_text(encoding='utf-8', errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    def stop(self, grace_s: float = 5.0) -> None:
        """End the process group: SIGINT first, SIGKILL after `grace_s` seconds."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(grace_s)
            # The group may hold grandchildren after its leader has ended.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
        atexit.unregister(self.stop)


def raise_on_termination() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit, so that the process cleans up as on Ctrl-C.

    SIGINT is enabled as well: a shell disables it for processes that it starts in the background.
    """

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until(condition, timeout: float, children: list[ChildProcess], what: str) -> None:
    """Call `condition` until it is true.

    Args:
        condition: called in a loop; it must block for a short time itself.
        timeout: seconds.
        children: processes that must keep running while this waits.
        what: description of the wait, for the errors.

    Raises:
        DemoError: timeout, or a child ended; contains the end of its log.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        for child in children:
            if child.exit_status() is not None:
                raise DemoError(f'{child.name} ended while {what}:\n{child.log_tail()}')
        if time.monotonic() > deadline:
            tails = '\n'.join(f'--- {child.name}\n{child.log_tail()}' for child in children)
            raise DemoError(f'gave up after {timeout:.0f} s of {what}\n{tails}')


class DemoError(RuntimeError):
    """The demo cannot continue; the message says why."""


def _die_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
