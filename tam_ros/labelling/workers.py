# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Workers that label recordings: the contract, and processes of this machine.

A worker may end at any time: killed, out of memory, its machine switched off. That is an event
like any other, and what it was doing is done again by another worker.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tam_ros.closing import Closing
from tam_ros.labelling.labeller import Labelled, Labeller, Stopped, Task
from tam_ros.reading import reason

_GRACE_SECONDS = 20  # for the current frame, when a worker is stopped


@dataclass(frozen=True)
class Event:
    """What has happened to a task. One of `result`, `failure` and `lost` ends it.

    Attributes:
        key: of the task.
        frames: number of frames labelled so far.
        count: number of frames of the recording, or None.
        result: it is labelled.
        failure: it cannot be labelled, and why; another try would fail as well.
        lost: the worker ended, and how.
    """

    key: str
    frames: int = 0
    count: int | None = None
    result: Labelled | None = None
    failure: str = ''
    lost: str = ''


class Workers(Closing):
    """Labels several recordings at the same time."""

    @abstractmethod
    def free(self) -> int:
        """Return how many more tasks can be started now."""

    @abstractmethod
    def start(self, task: Task) -> None:
        """Start a task on a free worker."""

    @abstractmethod
    def events(self, timeout: float) -> Sequence[Event]:
        """Wait for something to happen, and return it; empty after `timeout` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Stop what is running, between two frames, and end the workers."""


class LocalWorkers(Workers):
    """Processes of this machine, each with the model loaded."""

    def __init__(self, count: int, make_labeller: Callable[[], Labeller] = Labeller) -> None:
        """Start no process yet.

        Args:
            count: number of processes.
            make_labeller: what labels in each of them; it is sent to the process.
        """
        # A fresh interpreter: threads of libraries do not survive a fork.
        self._context = multiprocessing.get_context('spawn')
        self._count = count
        self._make_labeller = make_labeller
        self._idle: list[_Process] = []
        self._busy: dict[str, _Process] = {}

    def free(self) -> int:
        """Return how many more tasks can be started now."""
        return self._count - len(self._busy)

    def start(self, task: Task) -> None:
        """Start a task in a process that is idle, or in a new one."""
        while self._idle:
            process = self._idle.pop()
            if process.send(task):
                break
            process.end()
        else:
            process = _Process(self._context, self._make_labeller)
            process.send(task)
        self._busy[task.key] = process

    def events(self, timeout: float) -> list[Event]:
        """Wait for something to happen, and return it."""
        keys = {process.connection: key for key, process in self._busy.items()}
        found = []
        for connection in wait(list(keys), timeout):
            assert isinstance(connection, Connection)
            key = keys[connection]
            process = self._busy[key]
            try:
                event = connection.recv()
            except (EOFError, OSError):
                event = Event(key, lost=process.end())
                del self._busy[key]
            else:
                if event.result is not None or event.failure:
                    self._idle.append(self._busy.pop(key))
            found.append(event)
        return found

    def close(self) -> None:
        """Stop what is running, between two frames, and end the processes."""
        everyone = [*self._idle, *self._busy.values()]
        self._idle, self._busy = [], {}
        for process in everyone:
            process.stop()
        for process in everyone:
            process.end()


class _Process:
    """A worker process and our end of its pipe."""

    def __init__(self, context: Any, make_labeller: Callable[[], Labeller]) -> None:
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work, args=(theirs, make_labeller), daemon=True
        )
        self._process.start()
        theirs.close()  # so that its end is noticed here

    def send(self, task: Task) -> bool:
        """Return whether the process was there to take the task."""
        try:
            self.connection.send(task)
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Ask the process to end."""
        if self._process.is_alive():
            self._process.terminate()

    def end(self) -> str:
        """Wait for the end of the process; return how it ended."""
        self.connection.close()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return 'it was killed (SIGKILL), as the kernel does when memory runs out'
        return f'it was ended by signal {-code}' if code < 0 else f'it ended with status {code}'


def _work(connection: Connection, make_labeller: Callable[[], Labeller]) -> None:
    """Label what arrives, until the other end is closed."""
    stopped = False

    def stop(number: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True
        if idle:
            os._exit(0)

    idle = True
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with make_labeller() as labeller:
        while not stopped:
            try:
                task = connection.recv()
            except (EOFError, OSError):
                return
            idle = False

            def report(frames: int, count: int | None, key: str = task.key) -> None:
                if stopped:
                    raise Stopped
                connection.send(Event(key, frames, count))

            try:
                event = attempt(labeller, task, report)
                connection.send(event)
            except (Stopped, OSError):  # the other end is gone
                return
            idle = True


def attempt(labeller: Labeller, task: Task, report: Any) -> Event:
    """Label a recording; return the event that ends the task."""
    try:
        return Event(task.key, result=labeller.label(task, report))
    except Stopped:
        raise
    except MemoryError:
        return Event(task.key, lost='there was not enough memory')
    except BrokenPipeError:
        raise
    except Exception as error:
        labeller.close()  # it may be what is wrong
        return Event(task.key, failure=reason(error))
