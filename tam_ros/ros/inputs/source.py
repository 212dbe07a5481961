# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The base of a prompt source, and the port through which all sources reach the tracker."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from tam_ros.printable import MAX_TEXT, printable
from tam_ros.prompting.detection_filter import Explanation
from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.session import Action, Answer, PromptRequest, TrackingSession
from tam_ros.ros.bounded_messages import Refused, bounded, bounded_service
from tam_ros.ros.conversions import stamp_ns
from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.diagnostics.statistics import DROPPED_DETECTIONS, Statistics
from tam_ros.ros.geometry.calibration import Calibration
from tam_ros.ros.geometry.transforms import Transforms
from tam_ros.ros.incoming_texts import cut_texts
from tam_ros.ros.inference import BusyError, InferenceThread
from tam_ros.ros.inputs.subscription import PromptSubscription
from tam_ros.tracking import FrameResult

# Requests wait while an image is tracked. If more than the default of ten wait, the oldest one is
# lost, and its client waits forever.
_SERVICE_QOS = QoSProfile(depth=200)


class InputPort:
    """The parts of the node that a prompt source may use.

    Attributes:
        parameters: parameters of the node.
        calibration: calibration of the camera.
        published: the published images; only for use in the inference thread.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        calibration: Calibration,
        statistics: Statistics,
    ) -> None:
        """Create the port of a node.

        Args:
            node: node for subscriptions, services and the log.
            parameters: parameters of the node.
            calibration: calibration of the camera.
            statistics: counts refused requests and failures.
        """
        self.parameters = parameters
        self.calibration = calibration
        self.published = PublishedImages()
        self._inference: InferenceThread[TrackingSession, Any] | None = None
        self._newest_received_ns: int | None = None
        self._active = False
        self._node = node
        self._statistics = statistics
        self._sources: list[PromptSource] = []

    # --- for sources ---

    @property
    def active(self) -> bool:
        """Whether the node receives images."""
        return self._active

    @property
    def reason_not_tracking(self) -> str:
        """Why prompts are refused now, and what to do; empty: they are not.

        A prompt that waited for an activation would be applied to whatever is in view then.
        """
        state = '' if self._inference is not None else 'not configured'
        if not state and not self._active:
            state = 'not active'
        if not state:
            return ''
        return (
            f'the node is {state}, so nothing is tracked: '
            f'ros2 lifecycle set {self._node.get_fully_qualified_name()} '
            f'{"activate" if self._inference is not None else "configure"}'
        )

    @property
    def newest_received_ns(self) -> int | None:
        """Stamp of the newest received image, nanoseconds; None: none yet."""
        return self._newest_received_ns

    def subscribe(
        self,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile | None = None,
    ) -> None:
        """Subscribe to a topic of prompts.

        Args:
            message_type: type of the topic.
            topic: name of the topic.
            callback: called with each message; those with too many elements are refused.
            qos: None: no message of a reliable publisher is lost, and best-effort ones are heard.
        """

        def receive(message: Any) -> None:
            if isinstance(message, Refused):
                self.refused(f'{topic}: message refused: {message.reason}')
            else:
                cut_texts(message)
                callback(message)

        if qos is None:
            PromptSubscription(self._node, bounded(message_type), topic, receive)
        else:
            self._node.create_subscription(bounded(message_type), topic, receive, qos)

    def serve(self, service_type: type, name: str, answer: Callable[[Any, Any], None]) -> None:
        """Offer a service whose response has the fields `success` and `message`.

        Args:
            service_type: type of the service.
            name: name of the service.
            answer: called with each request and the response to fill; requests with too many
                elements are refused.
        """

        def respond(request: Any, response: Any) -> Any:
            if isinstance(request, Refused):
                response.message = f'request refused: {request.reason}'
            else:
                cut_texts(request)
                answer(request, response)
            response.message = printable(response.message, MAX_TEXT)
            if not response.success:
                self._statistics.count('refused_requests', response.message)
            return response

        self._node.create_service(
            bounded_service(service_type), name, respond, qos_profile=_SERVICE_QOS
        )

    def transforms_for(self, topic: str) -> Transforms:
        """Return the transforms that messages of a topic need."""
        return Transforms(self._node, topic)

    def set_parameter(self, name: str, value: str | bool | int | float) -> None:
        """Change a live parameter of the node."""
        self._node.set_parameters([RosParameter(name, value=value)])

    def submit(self, request: PromptRequest) -> Answer:
        """Submit a prompt to the tracker and return the answer."""
        return self.call_in_tracker(
            lambda session: session.submit_prompt(request, self.newest_received_ns),
            also_inactive=request.action is Action.REMOVE,
        )

    def call_in_tracker(
        self, function: Callable[[TrackingSession], Answer], also_inactive: bool = False
    ) -> Answer:
        """Call a function in the inference thread between two images, and return its answer.

        A failure is also an answer: this does not raise.

        Args:
            function: what to call.
            also_inactive: whether it makes sense while the node receives no images, such as
                removing an object that is kept for the next activation.
        """
        inference = self._inference
        if inference is None or not (self._active or also_inactive):
            return Answer(False, 0, self.reason_not_tracking)
        try:
            return inference.call(function)
        except BusyError as error:
            return Answer(False, 0, str(error))
        except Exception as error:
            self._failed(error)
            return Answer(False, 0, f'internal error: {error}; see the log of the node')

    def schedule_in_tracker(self, function: Callable[[TrackingSession], None]) -> Future | None:
        """Schedule a call in the inference thread between two images, without waiting.

        Returns:
            A future that can be cancelled until the call starts. None: there is no tracker.
        """

        def call(session: TrackingSession) -> None:
            try:
                function(session)
            except Exception as error:
                self._failed(error)

        try:
            return self._inference.schedule(call) if self._inference is not None else None
        except BusyError:
            return None

    def log(self, text: str, *, warning: bool = False) -> None:
        """Log the effect of a prompt."""
        text = printable(text, MAX_TEXT)
        if warning:
            self._node.get_logger().warning(text)
        else:
            self._node.get_logger().info(text)

    def count_dropped(self, reason: str, count: int, explanation: Explanation) -> None:
        """Count detections that are not used, for the diagnostics.

        Args:
            reason: one of the values of `Reason`.
            count: how many.
            explanation: why; a mistake is a warning.
        """
        what = f'{DROPPED_DETECTIONS}_{reason}'
        self._statistics.count(what, explanation.text, count)
        if explanation.mistake:
            self._statistics.count(DROPPED_DETECTIONS, explanation.text, count)

    def refused(self, reason: str, *, repeats: bool = False) -> None:
        """Count and log a prompt that was refused and whose sender receives no answer.

        Args:
            reason: reason for the log and the diagnostics.
            repeats: whether it repeats with every message of a stream; it is then logged once a
                minute.
        """
        reason = printable(reason, MAX_TEXT)
        self._statistics.count('refused_requests', reason)
        # rclpy throttles by the line of the call.
        if repeats:
            self._node.get_logger().warning(reason, throttle_duration_sec=60.0)
        else:
            self._node.get_logger().warning(reason, throttle_duration_sec=1.0)

    # --- for the node ---

    def attach(self, inference: InferenceThread[TrackingSession, Any]) -> None:
        """Send the requests to a tracker.

        Args:
            inference: the thread that owns it.
        """
        self._inference = inference
        for source in self._sources:
            source.opened()

    def detach(self) -> None:
        """Refuse requests and forget the images and objects: the tracker is closed."""
        self._inference = self._newest_received_ns = None
        for source in self._sources:
            source.closed()
        self.clear()

    def activate(self) -> None:
        """Accept messages that only matter while images are received."""
        self._active = True

    def deactivate(self) -> None:
        """Ignore messages that only matter while images are received."""
        self._active = False

    def image_received(self, stamp_ns: int) -> None:
        """Store the stamp of the newest received image, nanoseconds."""
        self._newest_received_ns = stamp_ns

    def add_source(self, source: PromptSource) -> None:
        """Register a source whose state is cleared together with that of the tracker."""
        self._sources.append(source)

    def add_published(self, result: FrameResult, header: Header, image: NDArray[np.uint8]) -> None:
        """Store the result published for an image; called in the inference thread."""
        keep_s = self.parameters.current.prompt_history_seconds
        self.published.add(result, stamp_ns(header), header.frame_id, keep_s)
        for source in self._sources:
            source.tracked(image, stamp_ns(header), result)

    def reset(self) -> Answer:
        """Remove all objects and waiting prompts, and clear all sources."""

        def reset(session: TrackingSession) -> Answer:
            self.clear()
            return session.reset()

        return self.call_in_tracker(reset, also_inactive=True)

    def clear(self) -> None:
        """Drop the published images and the state of all sources; no object is tracked now."""
        self.published.clear()
        for source in self._sources:
            source.clear()

    def _failed(self, error: Exception) -> None:
        self._statistics.failed(f'{type(error).__name__}: {error}')
        self._node.get_logger().error(traceback.format_exc())


class PromptSource:
    """One way to prompt the tracker: its topics and services, and what it does with them.

    To add one, derive a class in a file of this folder, subscribe in `start`, and list the class
    in `SOURCES` of `track_node`.
    """

    def __init__(self, port: InputPort) -> None:
        """Start receiving prompts.

        Args:
            port: the port of the node, whose parameters are already declared.
        """
        self.port = port
        port.add_source(self)
        self.start()

    def start(self) -> None:
        """Create the state, the subscriptions and the services."""
        raise NotImplementedError

    def clear(self) -> None:
        """Drop the state about tracked objects: none is tracked any more."""

    def opened(self) -> None:
        """Start what runs beside a tracker: there is one now."""

    def closed(self) -> None:
        """End what `opened` started: the tracker is closed."""

    def tracked(self, image: NDArray[np.uint8], stamp_ns: int, result: FrameResult) -> None:
        """See an image that was tracked and published; called in the inference thread."""
