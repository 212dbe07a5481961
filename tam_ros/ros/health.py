# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the node says of itself: gathers, and publishes on /diagnostics."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode

from tam_ros.process_usage import resident_bytes
from tam_ros.ros.diagnostics import Report, Thresholds, statuses
from tam_ros.ros.inference import BusyError, InferenceThread
from tam_ros.ros.session import Session
from tam_ros.ros.statistics import Statistics
from tam_ros.runtime.base import DeviceMemory
from tam_ros.runtime.engine_options import BuildProgress
from tam_ros.tracking import TrackedObject

PERIOD_S = 1.0


class _Look(NamedTuple):
    """What only the inference thread may look at."""

    waiting_prompts: int = 0
    late_objects: Sequence[int] = ()
    device_memory: DeviceMemory | None = None


class Health:
    """The node's diagnostics.

    Attributes:
        statistics: of the stream; the node's threads fill it.
        state: of the lifecycle, such as `active`.
        objects: of the newest frame.
    """

    def __init__(self, node: LifecycleNode) -> None:
        """Create the publisher, and start the thread that uses it.

        Args:
            node: its parameters of the names in `Thresholds` are declared.
        """
        self.statistics = Statistics()
        self.state = 'unconfigured'
        self.objects: Sequence[TrackedObject] = ()
        self._node = node
        self._facts: Mapping[str, str] = {}
        self._activity = ''
        self._inference: InferenceThread[Any] | None = None
        self._look = _Look()
        self._asked: Future | None = None
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._ended = threading.Event()
        # No timer: the executor is held while a model is opened and while a request waits for a
        # long step, which is when people look at diagnostics.
        self._thread = threading.Thread(target=self._run, name='diagnostics', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish no more; before the node is destroyed."""
        self._ended.set()
        self._thread.join()

    def activity(self, text: str) -> None:
        """Say what takes long, such as `building memory_attention 43 %`; from any thread."""
        self._activity = text
        self._node.get_logger().info(text, throttle_duration_sec=5.0)

    def building(self, progress: BuildProgress) -> None:
        """Say how far the engines are; as `EngineOptions.progress`."""
        self.activity(
            f'building {progress.graph} {progress.fraction:.0%} '
            f'({progress.index + 1} of {progress.graphs}, {progress.phase})'
        )

    def ending(self) -> bool:
        """Whether the node is told to end, so that nothing long goes on; from any thread."""
        return not self._node.context.ok()

    def opened(self, inference: InferenceThread[Any]) -> Mapping[str, str]:
        """Watch a tracker from now on.

        Args:
            inference: owns it.

        Returns:
            What it is: `model`, `runtime`, `weights` and what the backend adds.
        """
        self._facts = inference.ask(_facts)
        self._inference, self._activity = inference, ''
        return self._facts

    def closed(self) -> None:
        """The tracker is gone, or could not be opened."""
        self._inference, self._facts, self._activity = None, {}, ''
        self._look, self._asked, self.objects = _Look(), None, ()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S) and self._node.context.ok():
            self._take_look()
            self._publish()

    def _publish(self) -> None:
        value = self._node.get_parameter
        inference = self._inference
        report = Report(
            name=self._node.get_fully_qualified_name(),
            state=self.state,
            topic=self._node.resolve_topic_name('image'),
            info=self._facts,
            summary=self.statistics.summary(),
            activity=self._activity,
            busy_s=inference.busy_s if inference else 0.0,
            waiting_requests=inference.waiting if inference else 0,
            objects=self.objects,
            resident_bytes=resident_bytes(),
            **self._look._asdict(),
        )
        limits = Thresholds(*(value(name).value for name in Thresholds.__annotations__))
        message = DiagnosticArray(status=statuses(report, limits))
        message.header.stamp = self._node.get_clock().now().to_msg()
        with contextlib.suppress(rclpy_implementation.RCLError):  # interrupted meanwhile
            self._publisher.publish(message)

    def _take_look(self) -> None:
        """Take the answer to the last question, and ask the next; never waits."""
        asked, inference = self._asked, self._inference
        if asked is not None:
            if not asked.done():
                return
            # Where it is cancelled the tracker is being freed; one whose device fails says so
            # itself, with the next image.
            with contextlib.suppress(CancelledError, Exception):
                self._look = asked.result()
        with contextlib.suppress(BusyError):
            self._asked = inference and inference.request(_look)


def _facts(session: Session) -> dict[str, str]:
    tracker = session.tracker
    names = ('model', 'runtime', 'weights')
    return {**{name: getattr(tracker, name) for name in names}, **tracker.info}


def _look(session: Session) -> _Look:
    tracker = session.tracker
    return _Look(session.waiting, tracker.late, tracker.device_memory())
