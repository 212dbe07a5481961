# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Collects the state of the node and publishes it on /diagnostics."""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.clock import ROSClock
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode

from tam_ros.process_usage import resident_bytes
from tam_ros.prompting.session import SessionState, TrackingSession
from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.diagnostics.namesakes import Namesakes
from tam_ros.ros.diagnostics.shared_memory import PortWatch, describe
from tam_ros.ros.diagnostics.statistics import Statistics
from tam_ros.ros.diagnostics.status import CLOCK_MISSING, Report, few_ids, statuses
from tam_ros.ros.geometry.depth_images import DepthViews
from tam_ros.ros.images.subscription import ImageSubscription
from tam_ros.ros.inference import BusyError, InferenceThread
from tam_ros.runtime.engine_options import BuildProgress
from tam_ros.tracking import TrackedObject

PERIOD_S = 1.0

_RATE_AFTER_S = 5.0  # after the first image, the rate is logged


class Health:
    """The diagnostics of a node.

    Attributes:
        statistics: statistics of the stream; filled by the threads of the node.
        images: the subscription to the images, while the node is active.
        depth: the depth images.
        detector: returns what the node's detector is and costs; see `Report.detector`.
    """

    def __init__(self, node: LifecycleNode, parameters: NodeParameters) -> None:
        """Create the publisher, and start the thread that publishes.

        Args:
            node: node to publish with.
            parameters: parameters of the node, with the limits.
        """
        self.statistics = Statistics()
        self.images: ImageSubscription | None = None
        self.depth: DepthViews | None = None
        self.detector: Callable[[], Mapping[str, Any]] = dict
        self._state = 'unconfigured'
        self._objects: Sequence[TrackedObject] = ()
        self._node = node
        self._parameters = parameters
        self._info: Mapping[str, str] = {}
        self._activity = ''
        self._inference: InferenceThread[TrackingSession, Any] | None = None
        self._session_state = SessionState()
        self._scheduled: Future | None = None
        self._ports = PortWatch()
        self._lost_ports: Sequence[int] = ()
        self._first_image_s: float | None = None
        self._rate_logged = False
        self._host = platform.node()
        self._namesakes = Namesakes(
            node.get_fully_qualified_name(), node.get_node_names_and_namespaces
        )
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._ended = threading.Event()
        # Not a timer: while a model is opened or a request waits for a long step, the executor is
        # blocked, and diagnostics are needed most.
        self._thread = threading.Thread(target=self._run, name='diagnostics', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop publishing, before the node is destroyed."""
        self._ended.set()
        self._thread.join()

    def activity(self, text: str) -> None:
        """Report a long activity, such as `building memory_attention 43 %`; from any thread."""
        self._activity = text
        self._node.get_logger().info(text, throttle_duration_sec=5.0)

    def building(self, progress: BuildProgress) -> None:
        """Report the progress of building engines; for `EngineOptions.progress`."""
        self.activity(
            f'building {progress.graph} {progress.fraction:.0%} '
            f'({progress.index + 1} of {progress.graphs}, {progress.phase})'
        )

    def entered(self, state: str) -> None:
        """Report the state of the lifecycle, such as `active`."""
        self._state = state
        if state == 'active':
            self._first_image_s, self._rate_logged = None, False

    def decoded(self, message: Any, image: NDArray[np.uint8]) -> None:
        """Log the first image after an activation; from the inference thread.

        Args:
            message: an Image or a CompressedImage.
            image: its pixels, [H, W, 3].
        """
        if self._first_image_s is not None:
            return
        self._first_image_s = time.monotonic()
        images = self.images
        kind = getattr(message, 'encoding', '') or getattr(message, 'format', '')
        self._node.get_logger().info(
            f'first image on {images.topic if images else "image"}: '
            f'{image.shape[1]}x{image.shape[0]}, {kind}, frame_id {message.header.frame_id!r}'
        )

    def tracked(self, objects: Sequence[TrackedObject]) -> None:
        """Report the objects of the newest result; from the inference thread."""
        self._objects = objects

    def opened(self, inference: InferenceThread[TrackingSession, Any]) -> Mapping[str, str]:
        """Start reporting about a tracker.

        Args:
            inference: the thread that owns it.

        Returns:
            Its `model`, `runtime` and `weights`, and the info of the runtime.
        """
        self._info = inference.call(lambda session: session.info)
        self._inference, self._activity = inference, ''
        return self._info

    def closed(self) -> None:
        """Report that there is no tracker."""
        self._inference, self._info, self._activity = None, {}, ''
        self._session_state, self._scheduled, self._objects = SessionState(), None, ()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S) and self._node.context.ok():
            self._update_session_state()
            self._check_ports()
            self._check_namesakes()
            self._check_ids()
            self._log_rate()
            self._publish()

    def _publish(self) -> None:
        inference, images, depth = self._inference, self.images, self.depth
        report = Report(
            name=self._node.get_fully_qualified_name(),
            state=self._state,
            topic=images.topic if images else self._node.resolve_topic_name('image'),
            images_problem=images.problem if images else '',
            depth_problem=depth.problem if depth else '',
            info=self._info,
            summary=self.statistics.summary(),
            activity=self._activity,
            busy_s=inference.busy_s if inference else 0.0,
            waiting_requests=inference.waiting if inference else 0,
            objects=self._objects,
            resident_bytes=resident_bytes(),
            lost_ports=self._lost_ports,
            host=self._host,
            namesake=self._namesakes.problem,
            clock_missing=self._clock_is_missing(),
            detector=self.detector(),
            **self._session_state._asdict(),
        )
        message = DiagnosticArray(status=statuses(report, self._parameters.current))
        message.header.stamp = self._node.get_clock().now().to_msg()
        with contextlib.suppress(rclpy_implementation.RCLError):  # shut down in the meantime
            self._publisher.publish(message)

    def _check_ports(self) -> None:
        lost = self._ports.check()
        if lost and lost != self._lost_ports:
            self._node.get_logger().error(describe(lost))
        self._lost_ports = lost

    def _log_rate(self) -> None:
        first = self._first_image_s
        if self._rate_logged or first is None or time.monotonic() - first < _RATE_AFTER_S:
            return
        self._rate_logged = True
        summary = self.statistics.summary()
        self._node.get_logger().info(
            f'{summary.received_hz:.1f} images per second arrive, {summary.tracked_hz:.1f} are '
            f'tracked'
        )

    def _clock_is_missing(self) -> bool:
        clock = self._node.get_clock()
        simulated = isinstance(clock, ROSClock) and clock.ros_time_is_active
        missing = simulated and clock.now().nanoseconds == 0
        if missing and self._first_image_s is not None:
            self._node.get_logger().warning(CLOCK_MISSING, throttle_duration_sec=60.0)
        return missing

    def _check_namesakes(self) -> None:
        with contextlib.suppress(rclpy_implementation.RCLError):  # shut down in the meantime
            if changed := self._namesakes.check():
                # rclpy refuses another severity from the same line.
                if self._namesakes.problem:
                    self._node.get_logger().warning(changed)
                else:
                    self._node.get_logger().info(changed)

    def _check_ids(self) -> None:
        if few := few_ids(self._session_state.used_ids):
            self._node.get_logger().warning(few, throttle_duration_sec=600.0)

    def _update_session_state(self) -> None:
        """Read the state that was requested last, and request it again, without waiting."""
        scheduled, inference = self._scheduled, self._inference
        if scheduled is not None:
            if not scheduled.done():
                return
            try:
                self._session_state = scheduled.result()
            except CancelledError:
                pass  # the tracker is being closed
            except Exception as error:
                self._node.get_logger().warning(
                    f'the state of the tracker cannot be read: {error}', throttle_duration_sec=60.0
                )
        with contextlib.suppress(BusyError):
            self._scheduled = (
                inference.schedule(lambda session: session.state) if inference else None
            )
