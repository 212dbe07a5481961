# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Workers on a Ray cluster: one actor labels one recording at a time, with the model loaded.

All machines need this package, and the output folder under the same path (a network file system).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tam_ros.labelling.labeller import Labeller, Stopped, Task
from tam_ros.labelling.workers import Event, Workers, attempt
from tam_ros.reading import InputError, reason

_GRACE_SECONDS = 20  # for the current frame, when a worker is stopped


class ClusterError(InputError, OSError):
    """Ray is missing, or its cluster cannot be reached; the message says what to do."""


class RayWorkers(Workers):
    """Actors of a cluster."""

    def __init__(
        self, address: str | None, count: int | None, threads: int = 1, gpus: float = 0.0
    ) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            address: `ray://HOST:10001`, `auto`, or None: a cluster on this machine alone.
            count: number of actors; None: as many as the processors of the cluster allow.
            threads: processors that each of them reserves.
            gpus: GPUs that each of them reserves; 0.5: two of them share one.

        Raises:
            ClusterError: see the class.
        """
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ClusterError(
                "--on ray needs the package ray: pip install 'tam_ros[cluster]'"
            ) from error
        self._ray: Any = ray
        self._connected_before = self._ray.is_initialized()
        if not self._connected_before:
            local = {'include_dashboard': False} if address is None else {}
            try:
                with _own_signals():
                    self._ray.init(address=address, log_to_driver=False, **local)
            except Exception as error:  # Ray raises many kinds
                raise ClusterError(f'no Ray cluster at {address}: {reason(error)}') from error
        processors = int(self._ray.cluster_resources().get('CPU', 1))
        self._count = count or max(1, processors // threads)
        self._kind = self._ray.remote(
            num_cpus=threads, num_gpus=gpus, max_restarts=0, max_concurrency=2
        )(_Actor)
        self._idle: list[Any] = []
        self._busy: dict[str, tuple[Any, Any]] = {}  # actor and what it will return, by key
        self._asked: dict[str, Any] = {}  # how far it is, which has been asked, by key

    def free(self) -> int:
        """Return how many more tasks can be started now."""
        return self._count - len(self._busy)

    def start(self, task: Task) -> None:
        """Start a task on an actor that is idle, or on a new one."""
        actor = self._idle.pop() if self._idle else self._kind.remote()
        self._busy[task.key] = actor, actor.label.remote(task)

    def events(self, timeout: float) -> Sequence[Event]:
        """Wait for something to happen, and return it."""
        results = {result: key for key, (_, result) in self._busy.items()}
        found = self._how_far()
        ready, _ = self._ray.wait(list(results), timeout=0 if found else timeout)
        for result in ready:
            key = results[result]
            actor, _ = self._busy.pop(key)
            self._asked.pop(key, None)
            try:
                event = self._ray.get(result)
            except Exception as error:  # the actor, its machine, or the memory is gone
                event = Event(key, lost=reason(error))
            else:
                self._idle.append(actor)
            found.append(event)
        return found

    def close(self) -> None:
        """Stop what is running, between two frames, and end the actors."""
        running = [result for _, result in self._busy.values()]
        for actor, _ in self._busy.values():
            actor.stop.remote()
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=_GRACE_SECONDS)
        for actor in [*self._idle, *(actor for actor, _ in self._busy.values())]:
            self._ray.kill(actor)
        self._idle, self._busy, self._asked = [], {}, {}
        if self._ray.is_initialized() and not self._connected_before:
            self._ray.shutdown()

    def _how_far(self) -> list[Event]:
        """Return how far the tasks are whose actors have answered, and ask the others."""
        found = []
        for key, (actor, _) in self._busy.items():
            if key not in self._asked:
                self._asked[key] = actor.progress.remote()
                continue
            ready, _ = self._ray.wait([self._asked[key]], timeout=0)
            if not ready:
                continue
            try:
                frames, count = self._ray.get(self._asked.pop(key))
            except Exception:  # the result of the task will say so
                continue
            if frames:
                found.append(Event(key, frames, count))
        return found


@contextmanager
def _own_signals() -> Iterator[None]:
    """Undo what the block does to SIGTERM: Ray ends the process in the middle of a write."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


class _Actor:
    """Labels in a process of the cluster; `progress` and `stop` are answered meanwhile."""

    def __init__(self) -> None:
        self._labeller = Labeller()
        self._done: tuple[int, int | None] = (0, None)
        self._stopped = False

    def label(self, task: Task) -> Event:
        self._done = (0, None)
        try:
            return attempt(self._labeller, task, self._report)
        except Stopped:
            return Event(task.key, lost='it was stopped')

    def progress(self) -> tuple[int, int | None]:
        return self._done

    def stop(self) -> None:
        self._stopped = True

    def _report(self, frames: int, count: int | None) -> None:
        self._done = (frames, count)
        if self._stopped:
            raise Stopped
