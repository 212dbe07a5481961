# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The operator's side of the demo: prompts the node over its topics and records what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from tam_ros.demo.processes import DemoError
from tam_ros.demo.review import TRUTH_TOPIC
from tam_ros.interfaces import IMAGE_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC
from tam_ros.io.bag_writer import BagWriter
from tam_ros.msg import Prompt, TrackedObjectArray
from tam_ros.prompting.prompt_text import PromptSpec
from tam_ros.ros.conversions import stamp_ns

_QOS = QoSProfile(depth=100)  # reliable: the record must not lose what was sent


class DemoClient(Node):
    """Listens to everything from its start; records from `start_recording` on.

    Attributes:
        played: images seen since recording began.
        arrivals: (stamp of the image, when its result arrived), nanoseconds of the wall clock, one
            pair a tracked image since recording began.
        last_ids: objects in the newest result.
        status: the node's own words in /diagnostics, the newest of each key.
    """

    def __init__(self, prompts: Iterable[PromptSpec]) -> None:
        """Create publisher, subscriptions and the client of the camera.

        Args:
            prompts: those of frame 0 are sent by `send_first_prompts`, later ones when their
                frame is seen.
        """
        super().__init__('demo')
        self.played = 0
        self.arrivals: list[tuple[int, int]] = []
        self.last_ids: set[int] = set()
        self.status: dict[str, str] = {}
        self._bag: BagWriter | None = None
        self._from_ns = 0
        self._newest_header = Header()
        self._results_seen = 0
        self._prompts = group_prompts(prompts)
        self._prompt_pub = self.create_publisher(Prompt, '/track_node/prompt', _QOS)
        self._play = self.create_client(Trigger, '/camera/play')
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, _QOS)
        for topic, kind, callback in (
            (IMAGE_TOPIC, Image, self._on_image),
            (TRUTH_TOPIC, Image, None),
            (LABELS_TOPIC, Image, None),
            (OBJECTS_TOPIC, TrackedObjectArray, self._on_objects),
        ):
            self._listen(topic, kind, callback)

    def is_ready(self) -> bool:
        """Whether the node answers images and everyone has found everyone."""
        rclpy.spin_once(self, timeout_sec=0.1)
        return (
            self._results_seen > 0
            and self._prompt_pub.get_subscription_count() > 0
            and self._play.service_is_ready()
            and bool(self.status)
        )

    def send_first_prompts(self) -> set[int]:
        """Prompt on the still picture; return the ids of the objects that are to appear."""
        first = [prompt for frame, prompt in self._prompts if frame == 0]
        self._send(first)
        return {prompt.object_id for prompt in first}

    def follows(self, object_ids: set[int]) -> bool:
        """Whether the newest result holds these objects.

        Raises:
            DemoError: the node refused a prompt.
        """
        rclpy.spin_once(self, timeout_sec=0.1)
        if refusal := self.status.get('last_refused_requests'):
            raise DemoError(refusal)
        return object_ids <= self.last_ids

    def start_recording(self, bag: BagWriter) -> None:
        """Let the camera play and record everything from now on.

        Raises:
            DemoError: the camera does not answer.
        """
        answer = self._play.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(self, answer, timeout_sec=10)
        if not answer.done() or not answer.result().success:
            raise DemoError('the camera does not play')
        # Copies of the still picture may yet be on their way.
        self._from_ns = int(answer.result().message)
        self._bag = bag

    def stop_recording(self) -> None:
        """Listen on, but record no more."""
        self._bag = None

    def spin_for(self, seconds: float) -> None:
        """Handle whatever arrives within that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            rclpy.spin_once(self, timeout_sec=left)

    def _listen(
        self, topic: str, kind: type, callback: Callable[[Any, bool], None] | None
    ) -> None:
        name = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'

        def on_serialized(data: bytes) -> None:
            message = deserialize_message(data, kind)
            stamp = stamp_ns(message.header)
            recording = self._bag is not None and stamp >= self._from_ns
            if callback is not None:
                callback(message, recording)
            if recording:
                self._bag.write_serialized(topic, name, stamp, data)

        self.create_subscription(kind, topic, on_serialized, _QOS, raw=True)

    def _on_image(self, message: Image, recording: bool) -> None:
        self._newest_header = message.header
        if recording:
            self._send(prompt for frame, prompt in self._prompts if frame and frame == self.played)
            self.played += 1

    def _on_objects(self, message: TrackedObjectArray, recording: bool) -> None:
        arrival = self.get_clock().now().nanoseconds
        self._results_seen += 1
        self.last_ids = {item.id for item in message.objects}
        if recording:
            self.arrivals.append((stamp_ns(message.header), arrival))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if 'track_node' in status.name:
                self.status.update({item.key: item.value for item in status.values})

    def _send(self, prompts: Iterable[Prompt]) -> None:
        for prompt in prompts:
            prompt.header = self._newest_header
            self._prompt_pub.publish(prompt)


def group_prompts(specs: Iterable[PromptSpec]) -> list[tuple[int, Prompt]]:
    """Make one message of what is said about one object on one frame: (frame, message), by frame.

    The first message about an object adds it, later ones refine it.
    """
    messages: dict[tuple[int, int], Prompt] = {}
    for spec in specs:
        message = messages.setdefault((spec.frame, spec.object_id), Prompt())
        message.object_id = spec.object_id
        message.points = [*message.points, *(Point(x=x, y=y) for x, y in spec.points)]
        message.point_labels = [*message.point_labels, *spec.labels]
        if spec.box is not None:
            message.box = [float(edge) for edge in spec.box]
    known: set[int] = set()
    ordered = sorted(messages.items(), key=lambda item: item[0][0])
    for (_, object_id), message in ordered:
        message.action = Prompt.REFINE if object_id in known else Prompt.ADD
        known.add(object_id)
    return [(frame, message) for (frame, _), message in ordered]
