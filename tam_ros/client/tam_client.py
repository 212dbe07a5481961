# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The client of the tracking node: prompts, results and status."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from numpy.typing import ArrayLike, NDArray
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from tam_ros.client.connection import Connection
from tam_ros.client.results import (
    ObjectStatus,
    Preview,
    PromptRefusedError,
    RequestRefusedError,
    Stamp,
    StatusEntry,
    make_prompt,
    object_status,
    preview_of,
    status_entries,
    to_time,
)
from tam_ros.interfaces import STATE_NAMES
from tam_ros.io.encodings import image_to_labels
from tam_ros.msg import Prompt, TrackedObjectArray
from tam_ros.ros.conversions import stamp_ns
from tam_ros.srv import AddPrompt, RemoveObject, Segment, SetClickMode

_STATE_POLL_S = 0.2  # between two requests for the lifecycle state
_STATUS_AGE_S = 5.0  # the node reports each second; an older report is out of date


class TamClient(Connection):
    """Sends prompts to a tracking node and returns what it tracks.

    Without `node` the client makes a ROS node of its own and spins it in a thread; it initialises
    rclpy for itself if the script has not. With `node` it uses that node, which the caller's
    executor must spin in a different thread from the one that calls the client (or in a
    `MultiThreadedExecutor`): the methods wait for answers that the executor receives.

    Every method waits for at most `timeout` seconds (None: the constructor's) and then raises a
    TimeoutError that says what it waited for and what is known about the node: whether it runs,
    its lifecycle state, warnings on /diagnostics.

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
        super().__init__(track_node, node, timeout)
        self._objects: TrackedObjectArray | None = None
        self._labels: Image | None = None
        self._label_subscription: Subscription | None = None
        self._images = 0  # results received
        self._status: dict[str, StatusEntry] = {}
        self._status_time = -_STATUS_AGE_S
        self._subscribe(TrackedObjectArray, f'{self.name}/objects', self._on_objects)
        self._subscribe(DiagnosticArray, '/diagnostics', self._on_diagnostics)
        self._start(
            {
                'add_prompt': AddPrompt,
                'remove_object': RemoveObject,
                'reset': Trigger,
                'set_click_mode': SetClickMode,
                'segment': Segment,
                'get_state': GetState,
            }
        )

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
        prompt = make_prompt(Prompt.ADD, object_id, points, labels, box, name=name)
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
        prompt = make_prompt(Prompt.ADD, object_id, mask=mask, name=name)
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
        self._correct(Prompt.REFINE, object_id, points, labels, box, mask, name, stamp, timeout)

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
        self._correct(Prompt.REPLACE, object_id, points, labels, box, mask, name, stamp, timeout)

    def _correct(
        self,
        action: int,
        object_id: int,
        points: Iterable[Sequence[float]],
        labels: Iterable[int],
        box: Sequence[float] | None,
        mask: ArrayLike | None,
        name: str,
        stamp: Stamp | None,
        timeout: float | None,
    ) -> None:
        prompt = make_prompt(action, object_id, points, labels, box, mask, name)
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
            prompt.header.stamp = to_time(stamp)
        elif not stamp_ns(prompt.header):
            prompt.header.stamp = to_time(self.newest_stamp_ns)
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

    def segment(
        self,
        points: Iterable[Sequence[float]] = (),
        labels: Iterable[int] = (),
        *,
        box: Sequence[float] | None = None,
        mask: ArrayLike | None = None,
        stamp: Stamp | None = None,
        timeout: float | None = None,
    ) -> Preview:
        """Return the mask that a prompt shows, without tracking anything.

        Args:
            points: as in `add_points`.
            labels: as in `add_points`.
            box: as in `add_points`.
            mask: [H, W] of the size of the image, nonzero on the object; the model refines it.
            stamp: stamp of an image that was tracked in the last `prompt_history_seconds`; None:
                that of the newest one that this client received; 0: the node's newest.
            timeout: seconds; None: the client's.

        Raises:
            RequestRefusedError: the prompt cannot be used, or its image is not kept.
            TimeoutError: no node, or no answer.
        """
        prompt = make_prompt(Prompt.ADD, 0, points, labels, box, mask)
        prompt.header.stamp = to_time(self.newest_stamp_ns if stamp is None else stamp)
        answer = self.call(Segment, 'segment', Segment.Request(prompt=prompt), timeout)
        if not answer.success:
            raise RequestRefusedError(answer.message)
        return preview_of(answer)

    # --- results ---

    @property
    def newest_stamp_ns(self) -> int:
        """Stamp of the newest tracked image that was received, nanoseconds; 0: none yet."""
        with self._changed:
            return 0 if self._objects is None else stamp_ns(self._objects.header)

    def objects(self, *, timeout: float | None = None) -> list[ObjectStatus]:
        """Return the objects of the newest tracked image, in the order of their ids.

        Waits only if this client has not received any result yet.

        Raises:
            TimeoutError: no image was tracked.
        """
        message = self._wait('the result of an image', lambda: self._objects, timeout)
        return [object_status(item, message) for item in message.objects]

    def labels(self, *, timeout: float | None = None) -> NDArray[np.unsignedinteger[Any]]:
        """Return the newest label image, uint8 or uint16 [H, W]: 0 background, else the id.

        The first call subscribes to the label images, and waits for one.

        Raises:
            TimeoutError: no label image was received.
        """
        with self._changed:
            if self._label_subscription is None:
                self._label_subscription = self._subscribe(
                    Image, f'{self.name}/labels', self._on_labels, depth=1
                )
        return image_to_labels(self._wait('a label image', lambda: self._labels, timeout))

    def status(self, *, timeout: float | None = None) -> dict[str, StatusEntry]:
        """Return what the node reports on /diagnostics.

        Returns:
            The entries `input`, `tracking`, `depth`, `prompts` and `model`; not older than 5 s.

        Raises:
            TimeoutError: the node reports nothing.
        """
        return self._wait(f'diagnostics of {self.name}', self._recent_status, timeout)

    def state(self, *, timeout: float | None = None) -> str:
        """Return the lifecycle state of the node, such as `active`.

        Raises:
            TimeoutError: no node, or no answer: a node answers only after it has configured.
        """
        answer = self.call(GetState, 'get_state', GetState.Request(), timeout)
        return str(answer.current_state.label)

    # --- waiting ---

    def wait_until_active(self, *, timeout: float | None = None) -> None:
        """Wait until the node runs, has opened its model and listens to images.

        Opening takes seconds; the first time with TensorRT, minutes.

        Raises:
            TimeoutError: the node does not run, or is in another state.
        """
        deadline = self._deadline(timeout)
        while (state := self.state(timeout=deadline - time.monotonic())) != 'active':
            if time.monotonic() + _STATE_POLL_S > deadline:
                raise TimeoutError(
                    f'{self.name} is {state}, not active: ros2 lifecycle set {self.name} '
                    f'{"activate" if state == "inactive" else "configure"}{self._explain()}'
                )
            time.sleep(_STATE_POLL_S)

    def wait_for_image(self, *, timeout: float | None = None) -> int:
        """Wait until the node has tracked another image.

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

    def _wait_for_object(
        self, object_id: int, states: tuple[str, ...], timeout: float | None
    ) -> ObjectStatus:
        def find() -> ObjectStatus | None:
            for item in self._objects.objects if self._objects is not None else ():
                if item.id == object_id and STATE_NAMES[item.state] in states:
                    return object_status(item, self._objects)
            return None

        what = f'object {object_id} to be {states[0] if len(states) == 1 else "tracked"}'
        try:
            return self._wait(what, find, timeout)
        except TimeoutError as error:
            raise TimeoutError(f'{error}; {self._describe_object(object_id)}') from None

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

    def _describe_node(self) -> str:
        status = self._recent_status()
        if status is None:
            return f'{self.name} is running, but reports nothing on /diagnostics'
        model = status['model'].values if 'model' in status else {}
        facts = [f'{self.name} is {model.get("lifecycle", "running")}']
        facts += [model['activity']] if 'activity' in model else []
        facts += [
            f'{part}: {entry.message}' for part, entry in status.items() if entry.level != 'ok'
        ]
        return '; '.join(facts)

    # --- received messages ---

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
        entries = status_entries(message, self.name)
        if entries:
            with self._changed:
                self._status = entries
                self._status_time = time.monotonic()
                self._changed.notify_all()

    def _recent_status(self) -> dict[str, StatusEntry] | None:
        recent = time.monotonic() - self._status_time < _STATUS_AGE_S
        return dict(self._status) if recent else None
