# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Requests to the tracker of a live stream, and the session that checks and orders them.

Images can arrive late or twice, time jumps back when a bag loops, and the image of a prompt may
have been dropped or not have arrived yet. Nothing here depends on topics. All methods run in the
inference thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.printable import MAX_NAME, printable
from tam_ros.prompting.object_ids import ObjectIds
from tam_ros.prompting.second_model import SecondModel
from tam_ros.prompting.stream_clock import NANOSECONDS, StreamClock
from tam_ros.prompting.waiting_prompts import WaitingPrompt, WaitingPrompts
from tam_ros.runtime.base import DeviceMemory
from tam_ros.tracking import (
    EncodedImage,
    FrameError,
    FrameResult,
    Prompt,
    PromptError,
    Tracker,
    TrackerOptions,
)
from tam_ros.tracking.prompts import check_begins


class Action(IntEnum):
    """What a request does to its object; the numbers are those of tam_ros/msg/Prompt."""

    ADD = 0
    REFINE = 1
    REPLACE = 2
    REMOVE = 3


@dataclass(frozen=True)
class PromptRequest:
    """A request whose fields are consistent; the tracker has not checked it yet.

    Attributes:
        action: what to do.
        object_id: the object; 0 for a new one.
        stamp_ns: stamp of the image the prompt was made on, nanoseconds; 0: the next image.
        name: name of the object, or empty; one printable line of at most `MAX_NAME` characters.
        points: (x, y) in pixels of the image.
        point_labels: one per point: 1 on the object, 0 off it.
        box: (x0, y0, x1, y1) in pixels of the image, or None.
        mask: bool [H, W] of the image, or None.
    """

    action: Action
    object_id: int = 0
    stamp_ns: int = 0
    name: str = ''
    points: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Make the name fit for results and logs."""
        object.__setattr__(self, 'name', printable(self.name, MAX_NAME))

    @property
    def only_renames(self) -> bool:
        """Whether it gives a tracked object a name and nothing else."""
        marks = bool(self.points) or self.box is not None or self.mask is not None
        return self.action is Action.REFINE and bool(self.name) and not marks

    def only_box(self) -> PromptRequest:
        """Return the request without its mask."""
        return replace(self, mask=None)

    def prompt(self, object_id: int, stamped: bool = True) -> Prompt:
        """Return the tracker's prompt for this request.

        Args:
            object_id: the object, which may have been chosen after the request was made.
            stamped: whether to keep the stamp. Without it, the prompt belongs to the image it is
                passed to the tracker with.

        Raises:
            PromptError: a coordinate is not finite, corners are swapped, or nothing is marked.
        """
        replace = self.action is Action.REPLACE
        stamp = self.stamp_ns / NANOSECONDS if stamped and self.stamp_ns else None
        if self.mask is not None:
            return Prompt.mask(object_id, self.mask, replace, stamp)
        if self.box is not None:
            return Prompt.box(object_id, self.box, self.points, self.point_labels, replace, stamp)
        return Prompt.points(object_id, self.points, self.point_labels, replace, stamp)


class Answer(NamedTuple):
    """The answer to a request, with the fields that the services return.

    Attributes:
        success: False if nothing was changed.
        object_id: id of the object; 0: none.
        message: if it failed, the reason.
    """

    success: bool
    object_id: int
    message: str


class SessionParameters(Protocol):
    """The parameters that a session uses.

    Attributes:
        max_objects: objects that can be tracked at once.
        max_new_objects: new objects per second; 0: any number.
        prompt_history_seconds: how long the tracker keeps images for prompts that come late.
        time_jump: stamps that go back by more seconds start a new recording.
    """

    @property
    def max_objects(self) -> int:
        """See the class."""

    @property
    def max_new_objects(self) -> float:
        """See the class."""

    @property
    def prompt_history_seconds(self) -> float:
        """See the class."""

    @property
    def time_jump(self) -> float:
        """See the class."""


class SessionState(NamedTuple):
    """What the diagnostics report about a session.

    Attributes:
        waiting_prompts: how many prompts wait for their image.
        used_ids: how many ids objects have had since the start or the last reset.
        late_objects: ids of the objects that are being replayed after a late prompt.
        device_memory: memory of the device; None: the runtime uses none.
    """

    waiting_prompts: int = 0
    used_ids: int = 0
    late_objects: Sequence[int] = ()
    device_memory: DeviceMemory | None = None


class TrackingSession(Closing):
    """One tracker on one image stream. Only the session uses the tracker.

    Attributes:
        names: names of the objects whose prompts had one, by id.
        second: see `__init__`.
    """

    def __init__(
        self,
        tracker: Tracker,
        parameters: Callable[[], SessionParameters],
        warn: Callable[[str], None],
        inform: Callable[[str], None] = lambda text: None,
        monotonic: Callable[[], float] = time.monotonic,
        second: SecondModel | None = None,
    ) -> None:
        """Take ownership of a tracker.

        Args:
            tracker: just opened; the session closes it, and the second model.
            parameters: returns the current parameters.
            warn: called with the reason if a prompt is dropped after its request was answered.
            inform: called if an object ends without a request.
            monotonic: returns the time that passes, seconds.
            second: a further model, for single images; None: there is none.
        """
        self._tracker = tracker
        self.second = second
        self.names: dict[int, str] = {}
        self._parameters = parameters
        self._warn = warn
        self._inform = inform
        self._monotonic = monotonic
        self._waiting = WaitingPrompts()
        self._ids = ObjectIds(monotonic)
        self._clock = StreamClock()
        self._size: tuple[int, int] | None = None

    @property
    def info(self) -> dict[str, str]:
        """What runs: `model`, `runtime` and `weights`, and the information of the runtime."""
        tracker = self._tracker
        return {
            'model': tracker.model,
            'runtime': tracker.runtime,
            'weights': tracker.weights,
            **tracker.info,
            **({} if self.second is None else {'second_model': self.second.description}),
        }

    @property
    def state(self) -> SessionState:
        """The current state, for the diagnostics."""
        return SessionState(
            len(self._waiting),
            self._ids.used,
            self._tracker.late_objects,
            self._tracker.device_memory(),
        )

    @property
    def tracked(self) -> set[int]:
        """Ids of the objects that are tracked or wait for their first image."""
        return {*self._tracker.objects, *self._waiting.object_ids}

    def set_options(self, options: TrackerOptions) -> None:
        """Set the options of the tracker from the next image on.

        Raises:
            ValueError: an option differs that cannot change while the tracker exists.
        """
        self._tracker.set_options(**vars(options))

    def close(self) -> None:
        """Close the tracker and the second model. Calling it again does nothing."""
        self._tracker.close()
        if self.second is not None:
            self.second.close()

    def encoded_image(self, stamp_ns: int) -> EncodedImage:
        """Return a recent image as the model has encoded it; nothing is changed.

        Args:
            stamp_ns: stamp of the image, nanoseconds; 0: the newest one.

        Raises:
            PromptError: that image is not kept.
        """
        return self._tracker.encoded_image(stamp_ns / NANOSECONDS if stamp_ns else None)

    def step(self, image: NDArray[np.uint8], stamp_ns: int) -> FrameResult:
        """Track one image and apply the prompts that are due.

        Args:
            image: uint8 RGB [H, W, 3].
            stamp_ns: stamp of the image, nanoseconds.

        Returns:
            The result of the tracker.

        Raises:
            StaleFrameError: not newer than the previous image, or alone far ahead of it; nothing
                was changed.
            FrameError: the tracker refused the image; nothing was changed.
        """
        arrival = self._monotonic()
        self._advance(stamp_ns, arrival)
        due = self._waiting.take_due(stamp_ns)
        if self.second is not None:
            self.second.keep(image, stamp_ns, self._parameters().prompt_history_seconds)
            due = [self._with_second_model(item) for item in due]
        before = self._tracker.objects
        while True:
            try:
                frame = self._tracker.step(
                    image, stamp_ns / NANOSECONDS, prompts=[item.prompt for item in due]
                )
                break
            except PromptError as error:
                if not due:
                    raise
                self._drop_one(due, image.shape[:2], error)
            except FrameError:
                self._waiting.put_back(due)
                raise
            except Exception as error:
                # They may be the cause: the next image is tracked without them.
                for item in due:
                    self._drop(item, f'tracking failed: {error}')
                raise
        self._clock.accept(stamp_ns, arrival)
        self._size = image.shape[:2]
        for number in sorted({*before} - {*self._tracker.objects}):
            self._inform(f'object {number} is removed: it was out of sight for remove_after')
        tracked = self.tracked
        self.names = {number: name for number, name in self.names.items() if number in tracked}
        return frame

    def submit_prompt(self, request: PromptRequest, newest_received_ns: int | None) -> Answer:
        """Check a prompt and queue it for its image; REMOVE takes effect at once.

        Args:
            request: the prompt.
            newest_received_ns: stamp of the newest received image, tracked or not, nanoseconds.
                None: no image has arrived.
        """
        try:
            if request.action is Action.REMOVE:
                return self.remove(request.object_id)
            if request.only_renames:
                object_id = self._require(request.object_id, request.action)
            else:
                object_id = self._queue(request, newest_received_ns)
        except PromptError as error:
            return Answer(False, request.object_id, str(error))
        if request.name:
            self.names[object_id] = request.name
        return Answer(True, object_id, '')

    def remove(self, object_id: int) -> Answer:
        """Remove an object, whether it is tracked or waits for its first image."""
        if object_id == 0:
            return Answer(False, 0, f'the ids of objects begin at 1; {self.list_tracked()}')
        waited = self._waiting.remove(object_id)
        if object_id in self._tracker.objects:
            self._tracker.remove(object_id)
        elif not waited:
            return Answer(False, object_id, f'no object {object_id}; {self.list_tracked()}')
        self.names.pop(object_id, None)
        return Answer(True, object_id, '')

    def reset(self) -> Answer:
        """Remove every object and every waiting prompt."""
        self._tracker.reset()
        self._waiting.clear()
        self._ids.clear()
        self.names.clear()
        self._size = None
        return Answer(True, 0, '')

    def list_tracked(self) -> str:
        """Return the ids of the tracked objects as text."""
        tracked = ', '.join(map(str, sorted(self.tracked)))
        return f'tracked objects: {tracked}' if tracked else 'no object is tracked'

    # --- prompts ---

    def _queue(self, request: PromptRequest, newest_received_ns: int | None) -> int:
        """Queue a prompt and return the id of its object; raise PromptError if it is refused."""
        self._check_stamp(request, newest_received_ns)
        self._waiting.check_room()
        object_id = request.object_id
        if request.action is Action.ADD:
            limits = self._parameters()
            object_id = self._ids.choose(
                object_id, self.tracked, limits.max_objects, limits.max_new_objects
            )
        else:
            self._require(object_id, request.action)
        prompt = request.prompt(object_id, stamped=self._parameters().prompt_history_seconds > 0)
        if request.action is not Action.REFINE:
            check_begins([prompt], object_id)
        if self._size is not None:
            self._tracker.check(prompt, self._size)
        self._waiting.add(prompt, request.stamp_ns)
        self._ids.use(object_id)
        return object_id

    def _require(self, object_id: int, action: Action) -> int:
        """Return an id; raise PromptError if there is no such object."""
        if object_id not in self.tracked:
            raise PromptError(f'no object {object_id} to {action.name}; {self.list_tracked()}')
        return object_id

    def _check_stamp(self, request: PromptRequest, newest_received_ns: int | None) -> None:
        if request.stamp_ns == 0:
            return
        if newest_received_ns is None:
            raise PromptError(
                'no image has arrived yet: send the prompt again when images arrive, or with '
                'stamp 0 for the first one'
            )
        ahead = (request.stamp_ns - newest_received_ns) / NANOSECONDS
        if ahead > self._parameters().time_jump:
            raise PromptError(
                f'the prompt is {ahead:.3f} s newer than the newest image: use the stamp of the '
                f'image the prompt was made on, not the current time'
            )

    def _with_second_model(self, item: WaitingPrompt) -> WaitingPrompt:
        """Return a prompt that begins an object as the mask that the second model makes of it."""
        assert self.second is not None
        begins = item.prompt.replace or item.object_id not in self._tracker.objects
        if not begins:
            return item
        try:
            return replace(item, prompt=self.second.as_mask(item.prompt))
        except PromptError:
            return item  # the tracker says what is wrong with it
        except Exception as error:
            self._warn(f'prompt_model failed, object {item.object_id} begins without it: {error}')
            return item

    def _drop_one(
        self, due: list[WaitingPrompt], size: tuple[int, int], error: PromptError
    ) -> None:
        """Remove the prompt that the tracker refuses on this image.

        It was accepted before the size of this image was known. If the tracker accepts each of
        them but not all together, the last one is removed.
        """
        for item in due:
            try:
                self._tracker.check(item.prompt, size)
            except PromptError as refusal:
                due.remove(item)
                self._drop(item, str(refusal))
                return
        self._drop(due.pop(), str(error))

    def _drop(self, item: WaitingPrompt, reason: str) -> None:
        self._warn(f'prompt for object {item.object_id} refused: {reason}')

    # --- time ---

    def _advance(self, stamp_ns: int, arrival: float) -> None:
        """Refuse an image that is not newer or far ahead; after a jump, restart the clock."""
        back = self._clock.check(stamp_ns, self._parameters().time_jump, arrival)
        if not back:
            return
        way = 'back' if back > 0 else 'ahead'
        self._warn(f'time went {way} by {abs(back):.3f} s: objects are kept, the clock restarts')
        self._tracker.restart_clock()
        for item in self._waiting.take_stamped():
            self._drop(item, 'the recording of its image has ended')
        self._clock.restart()
