# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whoever uses the node in a soak, well and badly.

Every second an object is added and one removed; between these, at random: prompts of every kind
through services and topics, requests that must be refused, images that contradict themselves or
come late, parameters, pauses of the lifecycle. Subscribers that come and go are others
(`benchmark.soak_visitor`).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from benchmark.camera import SENT_QOS
from benchmark.graph import IMAGE, NODE, Listener
from tam_ros.msg import Prompt, TrackedObjectArray
from tam_ros.ros.conversions import array_to_image
from tam_ros.srv import AddPrompt, RemoveObject

MOST_OBJECTS = 6  # above that none is added on purpose; clicks and topics may
MAX_OBJECTS = 16  # the node's default
_NAN = float('nan')
# What is wrong with an image: fields that are set to what they cannot be.
BAD_IMAGES: tuple[dict[str, Any], ...] = (
    {'encoding': 'nonsense'},
    {'encoding': '32FC1'},
    {'encoding': ''},
    {'step': 7},
    {'step': 2**31},
    {'data': b'123'},
    {'data': b''},
    {'height': 3},
    {'height': 0, 'width': 0},
    {'height': 2**31, 'width': 2**31},
)


@dataclass
class Request:
    """A service that was called.

    Attributes:
        name: of the service.
        must: whether it has to be accepted; None: it may be or not.
        sent: when, monotonic seconds.
        future: of the answer.
        answered: when; None: not yet.
    """

    name: str
    must: bool | None
    sent: float
    future: Any
    answered: float | None = None

    def wrong(self) -> str | None:
        """Say what is wrong with the answer, or None."""
        if self.answered is None:
            return f'{self.name} was not answered'
        answer = self.future.result()
        accepted = getattr(answer, 'success', True)
        if self.must is None or accepted == self.must:
            return None
        reason = getattr(answer, 'message', '')
        return f'{self.name} was {"accepted" if accepted else f"refused: {reason}"}'


class Operator:
    """Acts on a node, and keeps what it hears of it.

    Attributes:
        done: how often each action was taken.
        requests: services that were called.
        sent: (seconds, nanoseconds, frame) of every header that an output may carry.
        heard: of each output, by topic, in the order of arrival.
        objects: ids in the newest output.
        diagnosed: when diagnostics came, monotonic seconds.
        pauses: (begin, end) of the times the node was not active, monotonic seconds.
    """

    def __init__(self, listener: Listener, size: tuple[int, int], seed: int) -> None:
        """Make publishers, clients and the subscriptions that stay.

        Args:
            listener: of a node of our own.
            size: (height, width) of the camera's images.
            seed: of what is done.
        """
        self.done: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.sent: set[tuple[int, int, str]] = set()
        self.heard: dict[str, list[tuple[int, int, str]]] = {'objects': [], 'labels': []}
        self.objects: list[int] = []
        self.diagnosed: list[float] = []
        self.pauses: list[tuple[float, float]] = []
        self._node = listener.node
        self._size, self._random = size, random.Random(seed)
        self._newest = Header()
        self._reset_at = 0.0
        node = self._node
        self._prompts = node.create_publisher(Prompt, f'{NODE}/prompt', 20)
        self._clicks = node.create_publisher(Point, f'{NODE}/click', 20)
        self._images = node.create_publisher(
            Image, IMAGE, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        self._clients = {
            name: node.create_client(kind, f'{NODE}/{name}', qos_profile=QoSProfile(depth=100))
            for name, kind in (
                ('add_prompt', AddPrompt),
                ('remove_object', RemoveObject),
                ('reset', Trigger),
                ('get_parameters', GetParameters),
                ('set_parameters', SetParameters),
                ('change_state', ChangeState),
            )
        }
        sent = IMAGE.rpartition('/')[0] + '/sent'
        node.create_subscription(Header, sent, lambda one: self.sent.add(_key(one)), SENT_QOS)
        node.create_subscription(TrackedObjectArray, f'{NODE}/objects', self._on_objects, 100)
        node.create_subscription(Image, f'{NODE}/labels', self._on_labels, 100)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 100)

    def fill(self, timeout_s: float = 60.0) -> None:
        """Have as many objects followed as the node takes, for a while, and none after that.

        How much memory a library keeps depends on the largest batch it was given: from here on no
        batch is larger.
        """
        for column in range(MAX_OBJECTS):
            prompt = Prompt(box=[20.0 + 20 * column, 60.0, 120.0 + 20 * column, 260.0])
            self._call('add_prompt', AddPrompt.Request(prompt=prompt), True)
        deadline = time.monotonic() + timeout_s
        while len(self.objects) < MAX_OBJECTS and time.monotonic() < deadline:
            time.sleep(0.05)
        seen = len(self.heard['objects'])
        while len(self.heard['objects']) < seen + 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.reset()

    def every_second(self) -> None:
        """Add an object; remove the oldest where there are enough."""
        self._count('add')
        prompt = self._prompt()
        # Time may have jumped since the image that a stamp names.
        must = None if prompt.header.stamp.sec or len(self.objects) + 3 >= MAX_OBJECTS else True
        self._call('add_prompt', AddPrompt.Request(prompt=prompt), must)
        if len(self.objects) >= MOST_OBJECTS:
            self._count('remove')
            # May be gone already: a reset is under way.
            self._call('remove_object', RemoveObject.Request(object_id=self.objects[0]), None)

    def now_and_then(self) -> None:
        """Do one thing at random."""
        kinds = {
            self.prompt_by_topic: 4,
            self.refine: 4,
            self.replace: 2,
            self.click: 2,
            self.bad_request: 6,
            self.bad_prompt: 3,
            self.bad_image: 8,
            self.late_image: 2,
            self.other_size: 1,
            self.parameters: 2,
            self.reset: 0.3,
            self.pause: 0.3,
        }
        (act,) = self._random.choices(list(kinds), list(kinds.values()))
        self._count(act.__name__)
        act()

    def prompt_by_topic(self) -> None:
        """Add an object without waiting for an answer."""
        if len(self.objects) < MOST_OBJECTS:
            self._prompts.publish(self._prompt())

    def refine(self) -> None:
        """Correct an object, on the newest image or on one before."""
        if self.objects:
            point = self._point()
            prompt = Prompt(action=Prompt.REFINE, object_id=self._random.choice(self.objects))
            prompt.points, prompt.point_labels = [point], [self._random.randint(0, 1)]
            prompt.header = self._header()
            self._call('add_prompt', AddPrompt.Request(prompt=prompt), None)

    def replace(self) -> None:
        """Say anew what an object is."""
        if self.objects:
            prompt = self._prompt()
            prompt.action, prompt.object_id = Prompt.REPLACE, self._random.choice(self.objects)
            self._call('add_prompt', AddPrompt.Request(prompt=prompt), None)

    def click(self) -> None:
        """Click as rqt_image_view does."""
        if len(self.objects) < MOST_OBJECTS:
            self._clicks.publish(self._point())

    def bad_request(self) -> None:
        """Ask for what must be refused."""
        # Until the next image after a reset nothing is known of the size of images.
        known = time.monotonic() - self._reset_at > 3
        self._call('add_prompt', AddPrompt.Request(prompt=self._bad()), False if known else None)

    def bad_prompt(self) -> None:
        """Publish what must be refused."""
        self._prompts.publish(self._bad())

    def bad_image(self) -> None:
        """Publish an image that contradicts itself; no output may carry its header."""
        message = self._picture(self._size)
        for name, value in self._random.choice(BAD_IMAGES).items():
            setattr(message, name, value)
        self._images.publish(message)

    def late_image(self) -> None:
        """Publish an image older than others, by less or by more than a bag that loops."""
        message = self._picture(self._size)
        message.header.stamp.sec -= self._random.choice((1, 1, 1, 10))
        self.sent.add(_key(message.header))
        self._images.publish(message)

    def other_size(self) -> None:
        """Publish an image of another size; it is tracked where there is no object."""
        message = self._picture((48, 64))
        self.sent.add(_key(message.header))
        self._images.publish(message)

    def parameters(self) -> None:
        """Change one that may change, one that may not, and read some."""
        value = Parameter('publish_masks', value=self._random.random() < 0.5).to_parameter_msg()
        self._call('set_parameters', SetParameters.Request(parameters=[value]), None)
        value = Parameter('max_objects', value=3).to_parameter_msg()
        self._call('set_parameters', SetParameters.Request(parameters=[value]), None)
        self._call('get_parameters', GetParameters.Request(names=['model', 'threads']), None)

    def reset(self) -> None:
        """Forget all objects."""
        self._reset_at = time.monotonic()
        self._call('reset', Trigger.Request(), True)

    def pause(self) -> None:
        """Deactivate the node and activate it again."""
        begin = time.monotonic()
        for transition, possible in (
            (Transition.TRANSITION_ACTIVATE, False),
            (Transition.TRANSITION_DEACTIVATE, True),
            (Transition.TRANSITION_DEACTIVATE, False),
            (Transition.TRANSITION_ACTIVATE, True),
        ):
            request = ChangeState.Request(transition=Transition(id=transition))
            self._call('change_state', request, possible)
            self._settle(self.requests[-1], 20.0)
            time.sleep(0.1)
        self.pauses.append((begin, time.monotonic()))

    def settle(self, timeout_s: float) -> None:
        """Wait for every answer that is still to come."""
        for request in self.requests:
            self._settle(request, timeout_s)

    # --- what is heard ---

    def _on_objects(self, message: TrackedObjectArray) -> None:
        self.objects = [item.id for item in message.objects]
        self._newest = message.header
        self.heard['objects'].append(_key(message.header))

    def _on_labels(self, message: Image) -> None:
        self.heard['labels'].append(_key(message.header))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnosed.append(time.monotonic())

    # --- what is sent ---

    def _prompt(self) -> Prompt:
        """Return a prompt of any kind for a new object."""
        height, width = self._size
        kind = self._random.choice(('click', 'clicks', 'box', 'mask'))
        prompt = Prompt(header=self._header(), name=kind)
        if kind == 'click':
            prompt.points = [self._point()]
        elif kind == 'clicks':
            prompt.points, prompt.point_labels = [self._point(), self._point()], [1, 0]
        elif kind == 'box':
            x, y = self._random.uniform(0, width * 0.7), self._random.uniform(0, height * 0.7)
            prompt.box = [x, y, x + width * 0.2, y + height * 0.2]
        else:
            mask = np.zeros(self._size, np.uint8)
            x, y = self._random.randrange(width // 2), self._random.randrange(height // 2)
            mask[y : y + height // 4, x : x + width // 4] = 255
            prompt.mask = array_to_image(mask, 'mono8', prompt.header)
        return prompt

    def _bad(self) -> Prompt:
        """Return a prompt that cannot be used."""
        height, width = self._size
        wrong = array_to_image(np.ones((5, 5), np.uint8), 'mono8', Header())
        inside = Point(x=1.0, y=1.0)
        return self._random.choice(
            (
                Prompt(),
                Prompt(points=[Point(x=_NAN, y=1.0)]),
                Prompt(points=[Point(x=float('inf'), y=1.0)]),
                Prompt(points=[Point(x=width + 50.0, y=1.0)]),
                Prompt(points=[inside], point_labels=[1, 0]),
                Prompt(points=[inside], point_labels=[7]),
                Prompt(points=[inside], action=9),
                Prompt(points=[inside], action=Prompt.REFINE, object_id=60000),
                Prompt(action=Prompt.REMOVE, object_id=60000),
                Prompt(box=[30.0, 30.0, 10.0, 10.0]),
                Prompt(box=[_NAN, 0.0, 10.0, 10.0]),
                Prompt(box=[float(width), float(height), width + 5.0, height + 5.0]),
                Prompt(mask=wrong),
                Prompt(mask=wrong, points=[inside]),
            )
        )

    def _header(self) -> Header:
        """Return no stamp, or that of an image that was tracked just now."""
        return Header() if self._random.random() < 0.5 else self._newest

    def _point(self) -> Point:
        height, width = self._size
        return Point(x=self._random.uniform(0, width - 1), y=self._random.uniform(0, height - 1))

    def _picture(self, size: tuple[int, int]) -> Image:
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id='intruder')
        return array_to_image(np.full((*size, 3), 90, np.uint8), 'rgb8', header)

    def _call(self, name: str, request: Any, must: bool | None) -> None:
        made = Request(name, must, time.monotonic(), self._clients[name].call_async(request))

        def answered(_: Any) -> None:
            made.answered = time.monotonic()

        made.future.add_done_callback(answered)
        self.requests.append(made)

    def _settle(self, request: Request, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while request.answered is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def _count(self, what: str) -> None:
        self.done[what] += 1


def _key(header: Header) -> tuple[int, int, str]:
    return header.stamp.sec, header.stamp.nanosec, header.frame_id
