# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The operator of a soak test: sends valid and invalid requests to the node.

Every second an object is added and one removed. In between, at random: prompts of every kind
through services and topics, requests that must be refused, images with inconsistent fields or old
stamps, changes of parameters, pauses of the lifecycle. Subscribers that are created and destroyed
live in `benchmark.soak_visitor`.
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
from benchmark.graph import IMAGE, NODE
from tam_ros.client import TamClient
from tam_ros.msg import Prompt, TrackedObjectArray
from tam_ros.ros.conversions import array_to_image
from tam_ros.srv import AddPrompt, RemoveObject

ENOUGH_OBJECTS = 6  # with this many, the oldest is removed each second
MAX_OBJECTS = 16  # the node's default
_NAN = float('nan')
# Invalid values of fields of an image.
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
    """A service call.

    Attributes:
        name: name of the service.
        must: whether the node must accept it; None: either answer is right.
        sent: time of the call, monotonic seconds.
        future: completed with the answer.
        answered: time of the answer, monotonic seconds; None: there is none yet.
    """

    name: str
    must: bool | None
    sent: float
    future: Any
    answered: float | None = None

    def wrong(self) -> str | None:
        """Return what is wrong with the answer, or None."""
        if self.answered is None:
            return f'{self.name} was not answered'
        answer = self.future.result()
        accepted = getattr(answer, 'success', True)
        if self.must is None or accepted == self.must:
            return None
        reason = getattr(answer, 'message', '')
        return f'{self.name} was {"accepted" if accepted else f"refused: {reason}"}'


class Operator:
    """Sends requests to a node and records its outputs.

    Attributes:
        done: number of times each action was taken.
        requests: all service calls.
        sent: (seconds, nanoseconds, frame) of every header that an output may have.
        heard: the same of the outputs received, by topic, in the order of arrival.
        objects: ids in the newest output.
        diagnosed: when diagnostics were received, monotonic seconds.
        pauses: (begin, end) of the intervals in which the node was not active, monotonic seconds.
    """

    def __init__(self, client: TamClient, size: tuple[int, int], seed: int) -> None:
        """Create publishers, clients and subscriptions.

        Args:
            client: its node is used.
            size: (height, width) of the camera's images.
            seed: seed of the random actions.
        """
        self.done: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.sent: set[tuple[int, int, str]] = set()
        self.heard: dict[str, list[tuple[int, int, str]]] = {'objects': [], 'labels': []}
        self.objects: list[int] = []
        self.diagnosed: list[float] = []
        self.pauses: list[tuple[float, float]] = []
        self._node = client.node
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
        """Add as many objects as the node accepts, wait for ten results, and reset.

        The memory that a library keeps depends on the largest batch it has processed. Afterwards
        no batch is larger.
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
        """Add an object; remove the oldest if there are enough."""
        self._count('add')
        prompt = self._prompt()
        # After a jump of time, the node no longer has the image of this stamp.
        must = None if prompt.header.stamp.sec or len(self.objects) + 3 >= MAX_OBJECTS else True
        self._call('add_prompt', AddPrompt.Request(prompt=prompt), must)
        if len(self.objects) >= ENOUGH_OBJECTS:
            self._count('remove')
            # It may be removed already: a reset can be in progress.
            self._call('remove_object', RemoveObject.Request(object_id=self.objects[0]), None)

    def random_action(self) -> None:
        """Take one action, chosen at random."""
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
        if len(self.objects) < ENOUGH_OBJECTS:
            self._prompts.publish(self._prompt())

    def refine(self) -> None:
        """Correct an object, on the newest image or on an earlier one."""
        if self.objects:
            point = self._point()
            prompt = Prompt(action=Prompt.REFINE, object_id=self._random.choice(self.objects))
            prompt.points, prompt.point_labels = [point], [self._random.randint(0, 1)]
            prompt.header = self._header()
            self._call('add_prompt', AddPrompt.Request(prompt=prompt), None)

    def replace(self) -> None:
        """Replace an object by a new prompt."""
        if self.objects:
            prompt = self._prompt()
            prompt.action, prompt.object_id = Prompt.REPLACE, self._random.choice(self.objects)
            self._call('add_prompt', AddPrompt.Request(prompt=prompt), None)

    def click(self) -> None:
        """Click as rqt_image_view does."""
        if len(self.objects) < ENOUGH_OBJECTS:
            self._clicks.publish(self._point())

    def bad_request(self) -> None:
        """Send a request that must be refused."""
        # Between a reset and the next image, the node does not know the size of images.
        known = time.monotonic() - self._reset_at > 3
        self._call('add_prompt', AddPrompt.Request(prompt=self._bad()), False if known else None)

    def bad_prompt(self) -> None:
        """Publish a prompt that must be refused."""
        self._prompts.publish(self._bad())

    def bad_image(self) -> None:
        """Publish an image with inconsistent fields; no output may have its header."""
        message = self._image(self._size)
        for name, value in self._random.choice(BAD_IMAGES).items():
            setattr(message, name, value)
        self._images.publish(message)

    def late_image(self) -> None:
        """Publish an image with an older stamp: stale by 1 s, or a jump of time by 10 s."""
        message = self._image(self._size)
        message.header.stamp.sec -= self._random.choice((1, 1, 1, 10))
        self.sent.add(_key(message.header))
        self._images.publish(message)

    def other_size(self) -> None:
        """Publish an image of another size; it is tracked only if there is no object."""
        message = self._image((48, 64))
        self.sent.add(_key(message.header))
        self._images.publish(message)

    def parameters(self) -> None:
        """Change a live parameter, try to change a fixed one, and read two."""
        value = Parameter('publish_masks', value=self._random.random() < 0.5).to_parameter_msg()
        self._call('set_parameters', SetParameters.Request(parameters=[value]), None)
        value = Parameter('max_objects', value=3).to_parameter_msg()
        self._call('set_parameters', SetParameters.Request(parameters=[value]), None)
        self._call('get_parameters', GetParameters.Request(names=['model', 'threads']), None)

    def reset(self) -> None:
        """Remove all objects."""
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

    def settle(self, timeout_s: float) -> bool:
        """Wait until all requests are answered.

        Args:
            timeout_s: timeout for all of them together, seconds.

        Returns:
            Whether all are answered.
        """
        deadline = time.monotonic() + timeout_s
        for request in self.requests:
            self._settle(request, max(0.0, deadline - time.monotonic()))
        return all(request.answered is not None for request in self.requests)

    def is_answered(self, timeout_s: float) -> bool:
        """Send one more request, and return whether it is answered in time.

        Args:
            timeout_s: seconds.
        """
        self._call('get_parameters', GetParameters.Request(names=['model']), None)
        request = self.requests.pop()  # a check of the connection, no part of the soak
        self._settle(request, timeout_s)
        return request.answered is not None

    # --- what is received ---

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
        """Return an invalid prompt."""
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
        """Return a header without a stamp, or that of the newest tracked image."""
        return Header() if self._random.random() < 0.5 else self._newest

    def _point(self) -> Point:
        height, width = self._size
        return Point(x=self._random.uniform(0, width - 1), y=self._random.uniform(0, height - 1))

    def _image(self, size: tuple[int, int]) -> Image:
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
