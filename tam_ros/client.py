# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A ROS 2 client of the tracking node, for scripts that do not use rclpy themselves.

    from tam_ros.client import TamClient

    with TamClient('/track_node') as client:
        mug = client.add_point(320, 240, name='mug')
        client.wait_until_visible(mug, timeout=5)
        print(client.objects())

Modelled on `nav2_simple_commander.robot_navigator.BasicNavigator`: one method for each request,
which returns when the node has answered. Pixels: x to the right, y down, (0, 0) the
centre of the upper left pixel. All methods may be called from several threads.

A click belongs to the image on which it was made. Prompts therefore carry the stamp of the newest
tracked image that this client received, unless `stamp` says otherwise; before the first one they
apply to the next image. The node applies a prompt to the image of its stamp as long as it keeps
that image (parameter `prompt_history_seconds`).
"""

from __future__ import annotations

import os
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from lifecycle_msgs.srv import GetState
from numpy.typing import ArrayLike, NDArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from tam_ros.closing import Closing
from tam_ros.interfaces import STATE_NAMES
from tam_ros.io.encodings import image_to_labels
from tam_ros.msg import Prompt, TrackedObject, TrackedObjectArray
from tam_ros.ros.conversions import array_to_image, decode_mask, stamp_ns
from tam_ros.srv import AddPrompt, RemoveObject, SetClickMode

Stamp: TypeAlias = 'Time | int'
"""Stamp of an image: `header.stamp`, or its nanoseconds. 0: the next image."""

_T = TypeVar('_T')

_LEVELS = ('ok', 'warning', 'error', 'stale')  # by the number of diagnostic_msgs/DiagnosticStatus
_POLL_S = 0.1  # interval of polling for what ROS does not notify: discovery, the end of a context
_REPEAT_S = 0.5  # until a request that may not have reached the node is repeated; then doubled
_STATE_POLL_S = 0.2  # between two requests for the lifecycle state
_STATUS_AGE_S = 5.0  # the node reports each second; an older report is out of date


class RequestRefusedError(RuntimeError):
    """The node refused a request; nothing was changed.

    Attributes:
        message: the node's explanation, which also says what to do.
        object_id: the object of the request; 0: none, or refused before an id was chosen.
    """

    def __init__(self, message: str, object_id: int = 0) -> None:
        """Keep the node's answer."""
        super().__init__(message)
        self.message = message
        self.object_id = object_id


class PromptRefusedError(RequestRefusedError):
    """The node refused a prompt."""


@dataclass(frozen=True)
class ObjectStatus:
    """One tracked object in one image; the fields of tam_ros/TrackedObject.

    Attributes:
        id: 1 to 65535, the value of its pixels in the label image.
        name: given with its prompt, or empty.
        state: `visible`, `occluded` or `lost`.
        score: probability that the object is in the image, 0 to 1.
        box: (x0, y0, x1, y1), pixels, x1 and y1 exclusive; None: no pixel is visible.
        centroid: (x, y), mean position of the mask's pixels; None: no pixel is visible.
        area: pixels of the mask.
        age_frames: images since its first prompt.
        age_seconds: seconds since its first prompt, by the stamps of the images.
        position: (x, y, z), metres, in the optical frame of the camera (REP 103), median of the
            depth image over the inner part of the mask; None: no depth belongs to this image.
        extent: (x, y, z), metres, side lengths of the box around these points; None as above.
        position_points: number of these points.
        stamp_ns: stamp of the image, nanoseconds.
        frame_id: coordinate frame of the image.
    """

    id: int
    name: str
    state: str
    score: float
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    area: int
    age_frames: int
    age_seconds: float
    position: tuple[float, float, float] | None
    extent: tuple[float, float, float] | None
    position_points: int
    stamp_ns: int
    frame_id: str
    _message: TrackedObject = field(repr=False, compare=False)
    _size: tuple[int, int] = field(repr=False, compare=False)

    @property
    def visible(self) -> bool:
        """Whether the object is visible in the image."""
        return self.state == 'visible'

    @cached_property
    def mask(self) -> NDArray[np.bool_] | None:
        """The object's own mask, bool [H, W], including parts that other objects overlap.

        None: the node does not publish masks (parameter `publish_masks`).
        """
        try:
            return decode_mask(self._message, *self._size)
        except ValueError:
            return None


@dataclass(frozen=True)
class StatusEntry:
    """One of the node's entries on /diagnostics.

    Attributes:
        level: `ok`, `warning`, `error` or `stale`.
        message: summary in one line.
        values: the details, by key.
    """

    level: str
    message: str
    values: dict[str, str]


class TamClient(Closing):
    """Sends prompts to a tracking node and returns what it tracks.

    Without `node` the client makes a ROS node of its own and spins it in a thread; it initialises
    rclpy for itself if the script has not. With `node` it uses that node, which the caller's
    executor must spin in a different thread from the one that calls the client (or in a
    `MultiThreadedExecutor`): the methods wait for answers that the executor receives.

    Every method waits for at most `timeout` seconds, by default those of the constructor, and
    raises a TimeoutError that says what it waited for and what is known about the node: whether
    it runs, its lifecycle state, warnings on /diagnostics.

    Attributes:
        node: the rclpy node of this client, for further publishers and subscriptions.
        name: full name of the tracking node.
        timeout: default for the methods, seconds.
    """

    def __init__(
        self, track_node: str = '/track_node', *, node: Node | None = None, timeout: float = 10.0
    ) -> None:
        """Create the subscriptions; the tracking node need not be running yet.

        Args:
            track_node: name of the tracking node with its namespace, such as `/front/track_node`.
            node: a node that the caller spins; None: the client creates and spins its own.
            timeout: default for the methods, seconds.
        """
        self.timeout = timeout
        self._changed = threading.Condition()
        self._objects: TrackedObjectArray | None = None
        self._labels: Image | None = None
        self._images = 0  # results received
        self._status: dict[str, StatusEntry] = {}
        self._status_time = -_STATUS_AGE_S
        self._context: rclpy.Context | None = None
        self._executor: SingleThreadedExecutor | None = None
        self._thread: threading.Thread | None = None
        if node is None:
            node = self._own_node()
        self.node = node
        self.name: str = node.resolve_topic_name(track_node)
        # The caller's executor may serve this group while one of its callbacks waits for it.
        self._group = ReentrantCallbackGroup()
        self._clients: dict[str, Client] = {}
        self._reachable: set[Client] = set()  # clients that the node has discovered
        self._subscriptions = [
            self._subscribe(TrackedObjectArray, f'{self.name}/objects', self._on_objects),
            self._subscribe(DiagnosticArray, '/diagnostics', self._on_diagnostics),
        ]
        # Discovered together, see `_wait_until_reachable`.
        for service, kind in (
            ('add_prompt', AddPrompt),
            ('remove_object', RemoveObject),
            ('reset', Trigger),
            ('set_click_mode', SetClickMode),
            ('get_state', GetState),
        ):
            self._client(kind, service)
        if self._executor is not None:
            self._executor.add_node(node)
            self._thread = threading.Thread(target=self._spin, name='tam_client', daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Release the subscriptions and clients, and the node if it is the client's own."""
        if self._executor is None or self._thread is None:
            for subscription in self._subscriptions:
                self.node.destroy_subscription(subscription)
            for client in self._clients.values():
                self.node.destroy_client(client)
        else:
            self._executor.shutdown()
            self._thread.join()
            self.node.destroy_node()
        if self._context is not None:
            self._context.try_shutdown()

    # --- prompts ---

    def add_point(
        self,
        x: float,
        y: float,
        *,
        name: str = '',
        object_id: int = 0,
        stamp: Stamp | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add the object at a pixel; see `add_points`."""
        return self.add_points(
            [(x, y)], name=name, object_id=object_id, stamp=stamp, timeout=timeout
        )

    def add_points(
        self,
        points: Iterable[Sequence[float]],
        labels: Iterable[int] = (),
        *,
        box: Sequence[float] | None = None,
        name: str = '',
        object_id: int = 0,
        stamp: Stamp | None = None,
        timeout: float | None = None,
    ) -> int:
        """Start tracking a new object, given by points, a box or both.

        Args:
            points: (x, y) of each point, pixels.
            labels: 1 on the object, 0 off it, one for each point; empty: all are on the object.
            box: (x0, y0, x1, y1) around the object, pixels.
            name: name of the object, published with it.
            object_id: id for the object, 1 to 65535; 0: the node chooses one.
            stamp: stamp of the image that was clicked; None: that of the newest tracked image that
                this client received; 0: the next image.
            timeout: seconds; None: the client's.

        Returns:
            The id of the object.

        Raises:
            PromptRefusedError: the node refused the prompt.
            TimeoutError: no node, or no answer.
        """
        prompt = _prompt(Prompt.ADD, object_id, points, labels, box, name=name)
        return self.send_prompt(prompt, stamp=stamp, timeout=timeout)

    def add_box(
        self,
        box: Sequence[float],
        *,
        name: str = '',
        object_id: int = 0,
        stamp: Stamp | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add the object in a box (x0, y0, x1, y1), pixels; see `add_points`."""
        return self.add_points(
            (), box=box, name=name, object_id=object_id, stamp=stamp, timeout=timeout
        )

    def add_mask(
        self,
        mask: ArrayLike,
        *,
        name: str = '',
        object_id: int = 0,
        stamp: Stamp | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add the object of a mask [H, W] of the image's size, nonzero on it; see `add_points`."""
        prompt = _prompt(Prompt.ADD, object_id, mask=mask, name=name)
        return self.send_prompt(prompt, stamp=stamp, timeout=timeout)

    def refine(
        self,
        object_id: int,
        points: Iterable[Sequence[float]] = (),
        labels: Iterable[int] = (),
        *,
        box: Sequence[float] | None = None,
        mask: ArrayLike | None = None,
        name: str = '',
        stamp: Stamp | None = None,
        timeout: float | None = None,
    ) -> None:
        """Correct an object by further points, a box or a mask; arguments as in `add_points`.

        Its earlier points of the same image still count.

        Args:
            object_id: the object.
            points: as in `add_points`.
            labels: as in `add_points`.
            box: as in `add_points`.
            mask: [H, W] of the size of the image, nonzero on the object; not with points or a box.
            name: new name; empty: keep the current one.
            stamp: as in `add_points`.
            timeout: seconds; None: the client's.

        Raises:
            PromptRefusedError: the node refused the prompt.
            TimeoutError: no node, or no answer.
        """
        prompt = _prompt(Prompt.REFINE, object_id, points, labels, box, mask, name)
        self.send_prompt(prompt, stamp=stamp, timeout=timeout)

    def replace(
        self,
        object_id: int,
        points: Iterable[Sequence[float]] = (),
        labels: Iterable[int] = (),
        *,
        box: Sequence[float] | None = None,
        mask: ArrayLike | None = None,
        name: str = '',
        stamp: Stamp | None = None,
        timeout: float | None = None,
    ) -> None:
        """Prompt an object again from scratch: its earlier prompts and memories are forgotten.

        Arguments and errors are those of `refine`.
        """
        prompt = _prompt(Prompt.REPLACE, object_id, points, labels, box, mask, name)
        self.send_prompt(prompt, stamp=stamp, timeout=timeout)

    def send_prompt(
        self, prompt: Prompt, *, stamp: Stamp | None = None, timeout: float | None = None
    ) -> int:
        """Send a prompt message; only its stamp is set here.

        Args:
            prompt: the message; its header's stamp is kept, if it has one, unless `stamp` is
                given.
            stamp: as in `add_points`.
            timeout: seconds; None: the client's.

        Returns:
            The id of the object.

        Raises:
            PromptRefusedError: the node refused the prompt.
            TimeoutError: no node, or no answer.
        """
        if stamp is not None:
            prompt.header.stamp = _time(stamp)
        elif not stamp_ns(prompt.header):
            prompt.header.stamp = _time(self.newest_stamp_ns)
        answer = self.call(AddPrompt, 'add_prompt', AddPrompt.Request(prompt=prompt), timeout)
        if not answer.success:
            raise PromptRefusedError(answer.message, answer.object_id)
        return int(answer.object_id)

    def remove(self, object_id: int, *, timeout: float | None = None) -> None:
        """Stop tracking an object. Its id is not used again before a reset.

        Args:
            object_id: the object.
            timeout: seconds; None: the client's.

        Raises:
            RequestRefusedError: there is no such object.
            TimeoutError: no node, or no answer.
        """
        request = RemoveObject.Request(object_id=object_id)
        answer = self.call(RemoveObject, 'remove_object', request, timeout)
        if not answer.success:
            raise RequestRefusedError(answer.message, object_id)

    def reset(self, *, timeout: float | None = None) -> None:
        """Remove all objects and all prompts that wait for an image; ids start at 1 again.

        Args:
            timeout: seconds; None: the client's.

        Raises:
            RequestRefusedError: the node is not configured.
            TimeoutError: no node, or no answer.
        """
        answer = self.call(Trigger, 'reset', Trigger.Request(), timeout)
        if not answer.success:
            raise RequestRefusedError(answer.message)

    def set_click_mode(
        self, mode: str = '', *, object_id: int = 0, timeout: float | None = None
    ) -> tuple[str, int]:
        """Set what clicks on `~/click` do, and which object they correct.

        Args:
            mode: `auto`, `new`, `include` or `exclude`, see tam_ros/srv/SetClickMode; empty: keep
                it.
            object_id: the object to select; 0: keep the selection.
            timeout: seconds; None: the client's.

        Returns:
            The mode and the selected object (0: none) afterwards.

        Raises:
            RequestRefusedError: unknown mode or object.
            TimeoutError: no node, or no answer.
        """
        request = SetClickMode.Request(mode=mode, object_id=object_id)
        answer = self.call(SetClickMode, 'set_click_mode', request, timeout)
        if not answer.success:
            raise RequestRefusedError(answer.message, object_id)
        return answer.mode, int(answer.object_id)

    # --- results ---

    @property
    def newest_stamp_ns(self) -> int:
        """Stamp of the newest tracked image that was received, nanoseconds; 0: none yet."""
        with self._changed:
            return 0 if self._objects is None else stamp_ns(self._objects.header)

    def objects(self, *, timeout: float | None = None) -> list[ObjectStatus]:
        """Return the objects of the newest tracked image, in the order of their ids.

        Waits only if this client has not received any result yet.

        Args:
            timeout: seconds; None: the client's.

        Raises:
            TimeoutError: no image was tracked.
        """
        message = self._wait('the result of an image', lambda: self._objects, timeout)
        size = message.height, message.width
        return [_object_status(item, size, message.header) for item in message.objects]

    def labels(self, *, timeout: float | None = None) -> NDArray[np.unsignedinteger[Any]]:
        """Return the newest label image, uint8 or uint16 [H, W]: 0 background, else the id.

        The first call subscribes to the label images, and waits for one.

        Args:
            timeout: seconds; None: the client's.

        Raises:
            TimeoutError: no label image was received.
        """
        with self._changed:
            if len(self._subscriptions) == 2:
                self._subscriptions.append(
                    self._subscribe(Image, f'{self.name}/labels', self._on_labels, depth=1)
                )
        return image_to_labels(self._wait('a label image', lambda: self._labels, timeout))

    def status(self, *, timeout: float | None = None) -> dict[str, StatusEntry]:
        """Return what the node reports on /diagnostics.

        Args:
            timeout: seconds; None: the client's.

        Returns:
            The entries `input`, `tracking`, `depth`, `prompts` and `model`; not older than 5 s.

        Raises:
            TimeoutError: the node reports nothing.
        """
        return self._wait(f'diagnostics of {self.name}', self._recent_status, timeout)

    def state(self, *, timeout: float | None = None) -> str:
        """Return the lifecycle state of the node, such as `active`.

        Args:
            timeout: seconds; None: the client's.

        Raises:
            TimeoutError: no node, or no answer: a node answers only after it has configured.
        """
        answer = self.call(GetState, 'get_state', GetState.Request(), timeout)
        return str(answer.current_state.label)

    # --- waiting ---

    def wait_until_active(self, *, timeout: float | None = None) -> None:
        """Wait until the node runs, has opened its model and listens to images.

        Opening takes seconds; the first time with TensorRT, minutes.

        Args:
            timeout: seconds; None: the client's.

        Raises:
            TimeoutError: the node does not run, or is in another state.
        """
        deadline = self._deadline(timeout)
        while (state := self.state(timeout=deadline - time.monotonic())) != 'active':
            if time.monotonic() + _STATE_POLL_S > deadline:
                raise TimeoutError(
                    f'{self.name} is {state}, not active: ros2 lifecycle set {self.name} '
                    f'{"activate" if state == "inactive" else "configure"}{self._node_summary()}'
                )
            time.sleep(_STATE_POLL_S)

    def wait_for_image(self, *, timeout: float | None = None) -> int:
        """Wait until the node has tracked another image.

        Args:
            timeout: seconds; None: the client's.

        Returns:
            Stamp of the image, nanoseconds.

        Raises:
            TimeoutError: no image was tracked.
        """
        with self._changed:
            before = self._images

        def newer() -> TrackedObjectArray | None:
            return self._objects if self._images > before else None

        return stamp_ns(self._wait('another tracked image', newer, timeout).header)

    def wait_until_visible(self, object_id: int, timeout: float | None = None) -> ObjectStatus:
        """Wait until the newest tracked image shows an object.

        Args:
            object_id: the object.
            timeout: seconds; None: the client's.

        Returns:
            The object in that image.

        Raises:
            TimeoutError: it is not tracked, occluded or lost.
        """
        return self._wait_for_object(object_id, ('visible',), timeout)

    def wait_until_tracked(self, object_id: int, timeout: float | None = None) -> ObjectStatus:
        """Wait until a result contains an object, visible or not.

        Args:
            object_id: the object.
            timeout: seconds; None: the client's.

        Returns:
            The object in that image.

        Raises:
            TimeoutError: it is not tracked.
        """
        return self._wait_for_object(object_id, tuple(STATE_NAMES.values()), timeout)

    # --- services ---

    def call(self, kind: type, service: str, request: Any, timeout: float | None = None) -> Any:
        """Call any service and return its answer, even if it reports a failure.

        Args:
            kind: type of the service.
            service: a name below the node's, such as `set_parameters`, or a full name.
            request: a request of that type.
            timeout: seconds, for the service to appear and to answer; None: the client's.

        Raises:
            TimeoutError: no such service, or no answer.
        """
        deadline = self._deadline(timeout)
        client = self._client(kind, service)
        self._wait_for_service(client, timeout)
        future = self._send(client, request)
        try:
            left = deadline - time.monotonic()
            self._wait(f'the answer of {client.srv_name}', future.done, left)
        except BaseException:
            client.remove_pending_request(future)
            raise
        return future.result()

    def call_async(
        self, kind: type, service: str, request: Any, timeout: float | None = None
    ) -> Future:
        """Call any service and do not wait for the answer.

        Waits until the service can be called: a request before that would be lost.

        Args:
            kind: type of the service.
            service: a name below the node's, or a full name.
            request: a request of that type.
            timeout: seconds, for the service to appear; None: the client's.

        Returns:
            The future of the answer.

        Raises:
            TimeoutError: no such service.
        """
        client = self._client(kind, service)
        self._wait_for_service(client, timeout)
        return self._send(client, request)

    def _wait_for_service(self, client: Client, timeout: float | None) -> None:
        """Wait until a service can be called and its answer will be received."""
        deadline = self._deadline(timeout)
        if not client.service_is_ready():
            self._reachable.discard(client)  # the node may have been restarted
            self._wait(f'the service {client.srv_name}', client.service_is_ready, timeout)
        if client not in self._reachable and client.srv_name.startswith(f'{self.name}/'):
            self._wait_until_reachable(deadline - time.monotonic())

    def _wait_until_reachable(self, timeout: float) -> None:
        """Wait until the node has discovered the clients that exist now.

        `service_is_ready` says that this side has discovered the node. The node answers 100 ms
        later at most, and drops the answer if it has not discovered this side by then
        (rmw_fastrtps, `rmw_response.cpp`), as happens on busy computers. Endpoints of one
        participant are discovered in the order of their creation: an answer to a newer client
        shows that the older ones are known. The state may be requested repeatedly.
        """
        deadline = self._deadline(timeout)
        clients = set(self._clients.values())
        probe = self.node.create_client(
            GetState, f'{self.name}/get_state', callback_group=self._group
        )
        answers: list[Future] = []

        def answered() -> bool:
            return any(answer.done() for answer in answers)

        try:
            self._wait(f'the service {probe.srv_name}', probe.service_is_ready, timeout)
            interval = _REPEAT_S
            while not answered():
                answers.append(self._send(probe, GetState.Request()))
                left = deadline - time.monotonic()
                if not self._wait_for(answered, min(interval, left)) and left <= interval:
                    raise TimeoutError(
                        f'waited {timeout:.1f} s for {self.name} to answer{self._node_summary()}'
                    )
                interval *= 2
        finally:
            self.node.destroy_client(probe)
        self._reachable |= clients

    def _client(self, kind: type, service: str) -> Client:
        with self._changed:
            if service not in self._clients:
                full_name = service if service.startswith('/') else f'{self.name}/{service}'
                self._clients[service] = self.node.create_client(
                    kind,
                    full_name,
                    qos_profile=QoSProfile(depth=100),  # answers to many calls at once
                    callback_group=self._group,
                )
            return self._clients[service]

    def _send(self, client: Client, request: Any) -> Future:
        future = client.call_async(request)
        future.add_done_callback(lambda _: self._notify())
        return future

    # --- received messages ---

    def _subscribe(
        self, kind: type, topic: str, callback: Callable[[Any], None], depth: int = 10
    ) -> Any:
        return self.node.create_subscription(
            kind, topic, callback, QoSProfile(depth=depth), callback_group=self._group
        )

    def _on_objects(self, message: TrackedObjectArray) -> None:
        with self._changed:
            self._objects = message
            self._images += 1
            self._changed.notify_all()

    def _on_labels(self, message: Image) -> None:
        with self._changed:
            self._labels = message
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f'{self.name.lstrip("/")}: '
        found = {
            status.name.removeprefix(prefix): StatusEntry(
                _LEVELS[int.from_bytes(status.level, 'little')],
                status.message,
                {item.key: item.value for item in status.values},
            )
            for status in message.status
            if status.name.startswith(prefix)
        }
        if found:
            with self._changed:
                self._status = found
                self._status_time = time.monotonic()
                self._changed.notify_all()

    def _recent_status(self) -> dict[str, StatusEntry] | None:
        recent = time.monotonic() - self._status_time < _STATUS_AGE_S
        return dict(self._status) if recent else None

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # --- waiting ---

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def _wait(self, what: str, condition: Callable[[], _T | None], timeout: float | None) -> _T:
        """Wait until `condition` returns something true, and return that."""
        timeout = self.timeout if timeout is None else timeout
        if value := self._wait_for(condition, timeout):
            return value
        raise TimeoutError(f'waited {max(0.0, timeout):.1f} s for {what}{self._node_summary()}')

    def _wait_for(self, condition: Callable[[], _T | None], timeout: float) -> _T | None:
        """Wait until `condition` returns something true and return that, or None."""
        deadline = time.monotonic() + timeout
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback of the client's own node must not wait for the client")
        with self._changed:
            while not (value := condition()):
                if not self.node.context.ok():
                    raise RuntimeError('rclpy was shut down while the client waited')
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, _POLL_S))
        return value

    def _wait_for_object(
        self, object_id: int, states: tuple[str, ...], timeout: float | None
    ) -> ObjectStatus:
        def find(message: TrackedObjectArray | None) -> TrackedObject | None:
            items = message.objects if message is not None else ()
            return next((item for item in items if item.id == object_id), None)

        def found() -> TrackedObjectArray | None:
            item = find(self._objects)
            return self._objects if item and STATE_NAMES[item.state] in states else None

        what = f'object {object_id} to be {states[0] if len(states) == 1 else "tracked"}'
        try:
            message = self._wait(what, found, timeout)
        except TimeoutError as error:
            raise TimeoutError(f'{error}; {self._describe_object(object_id)}') from None
        size = message.height, message.width
        return _object_status(find(message), size, message.header)

    def _describe_object(self, object_id: int) -> str:
        """Describe an object in the newest result."""
        with self._changed:
            message = self._objects
        if message is None:
            return 'no image was tracked'
        states = {item.id: STATE_NAMES[item.state] for item in message.objects}
        if object_id in states:
            return f'object {object_id} is {states[object_id]}'
        known = ', '.join(map(str, states)) or 'none'
        return f'object {object_id} is not among the tracked objects: {known}'

    def _node_summary(self) -> str:
        """Describe what is known about the node, as the end of the message about a timeout."""
        if self._thread is None and self.node.executor is None:
            return ': no executor spins the node that was passed to the client'
        if self._thread is not None and not self._thread.is_alive():
            return ': the thread of the client has ended; see the exception that it printed'
        namespace, _, name = self.name.rpartition('/')
        if (name, namespace or '/') not in self.node.get_node_names_and_namespaces():
            domain = os.environ.get('ROS_DOMAIN_ID', '0')
            return f': no node {self.name} is running (ROS_DOMAIN_ID {domain})'
        status = self._recent_status()
        if status is None:
            return f': {self.name} is running, but reports nothing on /diagnostics'
        model = status['model'].values if 'model' in status else {}
        facts = [f'{self.name} is {model.get("lifecycle", "running")}']
        facts += [model['activity']] if 'activity' in model else []
        facts += [
            f'{part}: {entry.message}' for part, entry in status.items() if entry.level != 'ok'
        ]
        return f': {"; ".join(facts)}'

    # --- the client's own node ---

    def _own_node(self) -> Node:
        """Create a node, in the context of the script if it has initialised rclpy."""
        context = rclpy.get_default_context()
        if not context.ok():
            # A separate context leaves signal handlers alone and rclpy.init() to the script.
            context = self._context = rclpy.Context()
            rclpy.init(context=context)
        self._executor = SingleThreadedExecutor(context=context)
        return Node(f'tam_client_{uuid.uuid4().hex[:8]}', context=context)

    def _spin(self) -> None:
        assert self._executor is not None
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass  # the script shut rclpy down
        except Exception:
            traceback.print_exc()


def _prompt(
    action: int,
    object_id: int,
    points: Iterable[Sequence[float]] = (),
    labels: Iterable[int] = (),
    box: Sequence[float] | None = None,
    mask: ArrayLike | None = None,
    name: str = '',
) -> Prompt:
    """Return a message with the arguments; the node checks that they are consistent."""
    prompt = Prompt(action=action, object_id=object_id, name=name)
    prompt.points = [Point(x=float(x), y=float(y)) for x, y in points]
    prompt.point_labels = [int(label) for label in labels]
    if box is not None:
        prompt.box = [float(edge) for edge in box]
    if mask is not None:
        pixels = np.asarray(mask)
        if pixels.ndim != 2:
            raise ValueError(f'a mask has the shape [H, W], not {list(pixels.shape)}')
        shown = (pixels != 0).astype(np.uint8) * np.uint8(255)
        prompt.mask = array_to_image(shown, 'mono8', Header())
    return prompt


def _time(stamp: Stamp) -> Time:
    if isinstance(stamp, Time):
        return stamp
    if isinstance(stamp, float):
        # Seconds as a float would lose the nanoseconds by which the node finds the image.
        raise TypeError('a stamp is header.stamp or a whole number of nanoseconds')
    seconds, nanoseconds = divmod(int(stamp), 10**9)
    return Time(sec=seconds, nanosec=nanoseconds)


def _object_status(item: TrackedObject, size: tuple[int, int], header: Header) -> ObjectStatus:
    box, measured = item.box, item.position_points > 0
    x0, y0 = int(box.x_offset), int(box.y_offset)
    position, extent = item.position, item.extent
    return ObjectStatus(
        id=int(item.id),
        name=item.name,
        state=STATE_NAMES[item.state],
        score=float(item.score),
        box=(x0, y0, x0 + box.width, y0 + box.height) if box.width else None,
        centroid=(item.centroid.x, item.centroid.y) if box.width else None,
        area=int(item.area),
        age_frames=int(item.age_frames),
        age_seconds=float(item.age_seconds),
        position=(position.x, position.y, position.z) if measured else None,
        extent=(extent.x, extent.y, extent.z) if measured else None,
        position_points=int(item.position_points),
        stamp_ns=stamp_ns(header),
        frame_id=header.frame_id,
        _message=item,
        _size=size,
    )
