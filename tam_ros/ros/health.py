"""What the node says of itself: gathers, and publishes on /diagnostics."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from tam_ros.io.process import resident_bytes
from tam_ros.ros.diagnostics import Report, Thresholds, statuses
from tam_ros.ros.inference import BusyError, InferenceThread
from tam_ros.ros.session import Session
from tam_ros.ros.statistics import Statistics
from tam_ros.runtime.base import DeviceMemory
from tam_ros.runtime.options import BuildProgress
from tam_ros.tracking import TrackedObject

PERIOD_S = 1.0
_ACTIVITY_PERIOD_S = 0.5


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
        """Create the publisher and its timer.

        Args:
            node: its parameters of the names in `Thresholds` are declared.
        """
        self.statistics = Statistics()
        self.state = 'unconfigured'
        self.objects: Sequence[TrackedObject] = ()
        self._node = node
        self._facts: Mapping[str, str] = {}
        self._activity = ''
        self._activity_at = 0.0
        self._inference: InferenceThread[Any] | None = None
        self._look = _Look()
        self._asked: Future | None = None
        self._publishing = threading.Lock()
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Of a clock that runs: simulated time stands still where there is none.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(PERIOD_S, self._on_timer, clock=steady)

    def activity(self, text: str) -> None:
        """Say what takes long, such as `building memory_attention 43 %`; from any thread.

        Published at once: whoever configures holds the executor, so that no timer fires.
        """
        self._activity = text
        if time.monotonic() - self._activity_at > _ACTIVITY_PERIOD_S:
            self._activity_at = time.monotonic()
            self._node.get_logger().info(text, throttle_duration_sec=5.0)
            self.publish()

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

    def publish(self) -> None:
        """Publish the state of the moment; from any thread."""
        if not self._node.context.ok():
            return
        value = self._node.get_parameter
        inference = self._inference
        report = Report(
            name=self._node.get_fully_qualified_name(),
            state=self.state,
            topic=self._node.resolve_topic_name('image'),
            facts=self._facts,
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
        with self._publishing:
            self._publisher.publish(message)

    def _on_timer(self) -> None:
        self._take_look()
        self.publish()

    def _take_look(self) -> None:
        """Take the answer to the last question, and ask the next; never waits."""
        if self._asked is not None and self._asked.done():
            # Where it is cancelled the tracker is being freed; one whose device fails says so
            # itself, with the next image.
            with contextlib.suppress(CancelledError, Exception):
                self._look = self._asked.result()
            self._asked = None
        if self._asked is None and self._inference is not None:
            with contextlib.suppress(BusyError):
                self._asked = self._inference.request(_look)


def _facts(session: Session) -> dict[str, str]:
    tracker = session.tracker
    names = ('model', 'runtime', 'weights')
    return {**{name: getattr(tracker, name) for name in names}, **tracker.facts}


def _look(session: Session) -> _Look:
    tracker = session.tracker
    return _Look(session.waiting, tracker.late, tracker.memory())
