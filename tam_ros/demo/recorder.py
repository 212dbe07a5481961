# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Records the demo's topics into a bag, and hands out the prompts of later frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from geometry_msgs.msg import Point
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from tam_ros.demo.review import TRUTH_TOPIC
from tam_ros.interfaces import IMAGE_TOPIC, LABELS_TOPIC, OBJECTS_TOPIC
from tam_ros.io.bag_writer import BagWriter
from tam_ros.msg import Prompt, TrackedObjectArray
from tam_ros.prompting.prompt_text import PromptSpec
from tam_ros.ros.conversions import stamp_ns

_QOS = QoSProfile(depth=100)  # reliable: the recording must not lose messages


class _Received(NamedTuple):
    """A serialised message."""

    topic: str
    type_name: str
    kind: type
    data: bytes
    arrival_ns: int
    callback: Callable[[Any, int], None]


class Recorder:
    """Subscribes to the images, the truth and the results, and writes them to a bag.

    The callbacks run in the thread that spins the node.

    Attributes:
        played: images of the clip received so far.
        arrivals: (stamp of the image, arrival of its result) of each tracked image of the clip,
            nanoseconds of the wall clock.
        due: prompts of frames that have been received, stamped with the image's stamp.
        error: what ended the recording early.
    """

    def __init__(self, node: Node, prompts: Iterable[tuple[int, Prompt]]) -> None:
        """Subscribe.

        Args:
            node: spun by another thread.
            prompts: (frame, message) by frame; frame 0 is the first one of the clip.
        """
        self.played = 0
        self.arrivals: list[tuple[int, int]] = []
        self.due: queue.SimpleQueue[Prompt] = queue.SimpleQueue()
        self.error: Exception | None = None
        self._node = node
        self._prompts = list(prompts)
        self._lock = threading.Lock()
        self._bag: BagWriter | None = None
        self._from_ns: int | None = None
        self._held: list[_Received] = []  # until the start of the clip is known
        self._subscribe(IMAGE_TOPIC, Image, self._on_image)
        self._subscribe(TRUTH_TOPIC, Image, lambda *_: None)
        self._subscribe(LABELS_TOPIC, Image, lambda *_: None)
        self._subscribe(OBJECTS_TOPIC, TrackedObjectArray, self._on_objects)

    def open(self, bag: BagWriter) -> None:
        """Hold messages from now on, until `start` says where the clip begins."""
        with self._lock:
            self._bag = bag

    def start(self, from_ns: int) -> None:
        """Record everything whose image has the stamp `from_ns`, nanoseconds, or a later one."""
        with self._lock:
            self._from_ns = from_ns
            for received in self._held:
                self._record(received)
            self._held.clear()

    def stop(self) -> None:
        """End the recording.

        Raises:
            Exception: what ended the recording early, such as an OSError of a full disk.
        """
        with self._lock:
            self._bag = None
        if self.error is not None:
            raise self.error

    def next_prompt(self, timeout: float) -> Prompt | None:
        """Return the next prompt that is due, or None if there is none within `timeout` seconds.

        Raises:
            Exception: what ended the recording early, such as an OSError of a full disk.
        """
        if self.error is not None:
            raise self.error
        try:
            return self.due.get(timeout=timeout)
        except queue.Empty:
            return None

    def _subscribe(self, topic: str, kind: type, callback: Callable[[Any, int], None]) -> None:
        type_name = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'

        def on_serialized(data: bytes) -> None:
            arrival_ns = self._node.get_clock().now().nanoseconds
            received = _Received(topic, type_name, kind, data, arrival_ns, callback)
            with self._lock:
                if self._bag is not None and self._from_ns is None:
                    self._held.append(received)
                else:
                    self._record(received)

        self._node.create_subscription(kind, topic, on_serialized, _QOS, raw=True)

    def _record(self, received: _Received) -> None:
        if self._bag is None or self._from_ns is None:
            return
        message = deserialize_message(received.data, received.kind)
        stamp = stamp_ns(message.header)
        if stamp < self._from_ns:
            return  # a copy of the still image before the clip
        received.callback(message, received.arrival_ns)
        try:
            self._bag.write_serialized(received.topic, received.type_name, stamp, received.data)
        except Exception as error:
            self.error, self._bag = error, None

    def _on_image(self, message: Image, arrival_ns: int) -> None:
        for frame, prompt in self._prompts:
            if frame == self.played:
                prompt.header.stamp = message.header.stamp
                self.due.put(prompt)
        self.played += 1

    def _on_objects(self, message: TrackedObjectArray, arrival_ns: int) -> None:
        self.arrivals.append((stamp_ns(message.header), arrival_ns))


def group_prompts(specs: Iterable[PromptSpec]) -> list[tuple[int, Prompt]]:
    """Return one message for all prompts of one object on one frame: (frame, message), by frame.

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
