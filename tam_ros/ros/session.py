# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What happens to images and prompts of a live stream before they reach the tracker.

Knows time and order, not topics: images come late or twice, time jumps back when a bag loops, and
prompts name images that are gone or still to come. Everything here runs in the inference thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.prompting.request import Action, PromptRequest
from tam_ros.ros.conversions import NANOSECONDS
from tam_ros.tracking import FrameError, FrameResult, Prompt, PromptError, Tracker

MAX_WAITING = 64
"""Prompts that may wait for an image; more of them mean that no image comes."""


class Answer(NamedTuple):
    """The answer to a request: its services return the same fields."""

    success: bool
    object_id: int
    message: str


class StaleFrameError(FrameError):
    """An image that is not newer than the one before it."""


@dataclass(frozen=True)
class Limits:
    """Limits of a session; those of time may change while it runs.

    Attributes:
        max_objects: as many as the tracker has room for.
        prompt_history_seconds: how long the tracker keeps images; 0: not at all, and prompts are applied
            to the next image whatever their stamp.
        time_jump: seconds; a step back in time beyond this is a new recording, and a prompt made
            so far ahead of all images has its stamp from another clock.
    """

    max_objects: int
    prompt_history_seconds: float
    time_jump: float


class _Waiting(NamedTuple):
    prompt: Prompt
    request: PromptRequest
    object_id: int


class Session:
    """One tracker on one image stream.

    Attributes:
        tracker: the tracker; nobody else may use it.
        names: of the objects, by id, as far as their prompts gave one.
    """

    def __init__(
        self, tracker: Tracker, limits: Callable[[], Limits], warn: Callable[[str], None]
    ) -> None:
        """Take over a tracker.

        Args:
            tracker: freshly opened.
            limits: gives the limits of the moment.
            warn: told what was refused when nobody waits for an answer any more.
        """
        self.tracker = tracker
        self.names: dict[int, str] = {}
        self._limits = limits
        self._warn = warn
        self._waiting: deque[_Waiting] = deque()
        self._given: set[int] = set()  # every id since the start or a reset
        self._newest_ns: int | None = None
        self._size: tuple[int, int] | None = None

    @property
    def waiting(self) -> int:
        """How many prompts wait for the image they are due on."""
        return len(self._waiting)

    @property
    def followed(self) -> set[int]:
        """Ids of the objects that are tracked or wait for their first image."""
        return {*self.tracker.objects, *(item.object_id for item in self._waiting)}

    def step(self, image: NDArray[np.uint8], stamp_ns: int) -> FrameResult:
        """Track one image, applying the prompts that are due.

        Args:
            image: uint8 RGB [H, W, 3].
            stamp_ns: of the image, nanoseconds.

        Returns:
            What the tracker says of it.

        Raises:
            StaleFrameError: not newer than the image before; nothing was changed.
            FrameError: the tracker cannot take the image; nothing was changed.
        """
        self._advance(stamp_ns)
        due = self._take_due(stamp_ns)
        while True:
            try:
                frame = self.tracker.step(
                    image, stamp_ns / NANOSECONDS, prompts=[item.prompt for item in due]
                )
                break
            except PromptError as error:
                if not due:
                    raise
                self._drop_one(due, image.shape[:2], error)
            except FrameError:
                self._waiting.extendleft(reversed(due))
                raise
            except Exception as error:
                # Perhaps they are what it failed at: the next image goes without them.
                for item in due:
                    self._drop(item, f'tracking failed: {error}')
                raise
        self._newest_ns = stamp_ns
        self._size = image.shape[:2]
        followed = self.followed
        self.names = {number: name for number, name in self.names.items() if number in followed}
        return frame

    def ask(self, request: PromptRequest, received_ns: int | None) -> Answer:
        """Check a prompt, and queue it for the image it is due on.

        Args:
            request: the prompt.
            received_ns: stamp of the newest image received, tracked or not, nanoseconds.
        """
        try:
            if request.action is Action.REMOVE:
                return self.remove(request.object_id)
            object_id = self._admit(request, received_ns)
        except PromptError as error:
            return Answer(False, request.object_id, str(error))
        if request.name:
            self.names[object_id] = request.name
        return Answer(True, object_id, '')

    def remove(self, object_id: int) -> Answer:
        """Stop following an object, whether it waits for its first image or is tracked."""
        waited = [item for item in self._waiting if item.object_id == object_id]
        if object_id not in self.tracker.objects and not waited:
            return Answer(False, object_id, f'no object {object_id}; {self._known()}')
        if object_id in self.tracker.objects:
            self.tracker.remove(object_id)
        for item in waited:
            self._waiting.remove(item)
        self.names.pop(object_id, None)
        return Answer(True, object_id, '')

    def reset(self) -> Answer:
        """Forget every object and every waiting prompt."""
        self.tracker.reset()
        self._waiting.clear()
        self._given.clear()
        self.names.clear()
        self._size = None
        return Answer(True, 0, '')

    # --- prompts ---

    def _admit(self, request: PromptRequest, received_ns: int | None) -> int:
        self._check_clock(request, received_ns)
        if len(self._waiting) >= MAX_WAITING:
            raise PromptError(
                f'{MAX_WAITING} prompts already wait for an image: do images arrive?'
            )
        object_id = request.object_id
        if request.action is Action.ADD:
            object_id = self._check_new(object_id)
        elif object_id not in self.followed:
            raise PromptError(f'no object {object_id} to {request.action.name}; {self._known()}')
        prompt = request.prompt(object_id, stamped=self._limits().prompt_history_seconds > 0)
        if self._size is not None:
            self.tracker.check(prompt, self._size)
        self._given.add(object_id)
        self._waiting.append(_Waiting(prompt, request, object_id))
        return object_id

    def _check_new(self, object_id: int) -> int:
        """Return the id for a new object: `object_id` if it is free, or for 0 the lowest free."""
        followed = self.followed
        if object_id in followed:
            raise PromptError(f'object {object_id} is followed already: send REFINE or REPLACE')
        if object_id in self._given:
            raise PromptError(
                f'object {object_id} was removed, and its id is not used again before a reset: '
                f'send 0 for a new id'
            )
        # The tracker counts those it has, not those that wait.
        limit = self._limits().max_objects
        if len(followed) >= limit:
            raise PromptError(f'{limit} objects are followed, the limit: remove one first')
        return object_id or next(number for number in count(1) if number not in self._given)

    def _check_clock(self, request: PromptRequest, received_ns: int | None) -> None:
        if request.stamp_ns == 0:
            return
        if received_ns is None:
            raise PromptError(
                'no image has arrived yet that the prompt could belong to: send it again when '
                'images arrive, or with stamp 0 for the first one'
            )
        ahead = (request.stamp_ns - received_ns) / NANOSECONDS
        if ahead > self._limits().time_jump:
            raise PromptError(
                f'the prompt is {ahead:.3f} s newer than the newest image: use the stamp of the '
                f'image that was clicked, not a clock'
            )

    def _take_due(self, stamp_ns: int) -> list[_Waiting]:
        """Take out the prompts made on this image or before it."""
        waiting, self._waiting = self._waiting, deque()
        due: list[_Waiting] = []
        for item in waiting:
            (self._waiting if item.request.stamp_ns > stamp_ns else due).append(item)
        return due

    def _drop_one(self, due: list[_Waiting], size: tuple[int, int], error: PromptError) -> None:
        """Take out the prompt that keeps an image from being tracked with all of them.

        Its sender was answered before this image, perhaps before any, was seen. Where each alone
        can be used and together they cannot, the last one is too much.
        """
        for item in due:
            try:
                self.tracker.check(item.prompt, size)
            except PromptError as own:
                due.remove(item)
                self._drop(item, str(own))
                return
        self._drop(due.pop(), str(error))

    def _drop(self, item: _Waiting, reason: str) -> None:
        self._warn(f'prompt for object {item.object_id} refused: {reason}')

    def _known(self) -> str:
        known = ', '.join(map(str, sorted(self.followed)))
        return f'followed are: {known}' if known else 'no object is followed'

    # --- time ---

    def _advance(self, stamp_ns: int) -> None:
        """Refuse an image that is not newer, or start the clock again after a jump back."""
        if self._newest_ns is None or stamp_ns > self._newest_ns:
            return
        back = (self._newest_ns - stamp_ns) / NANOSECONDS
        if back == 0:
            raise StaleFrameError(
                f'the image has the stamp of the one before it ({stamp_ns / NANOSECONDS:.9f} s): '
                f'the driver must stamp every image'
            )
        if back <= self._limits().time_jump:
            raise StaleFrameError(f'the image is {back:.3f} s older than the one before it')
        self._warn(f'time went back by {back:.3f} s: objects are kept, the clock starts again')
        self.tracker.restart_clock()
        for item in [item for item in self._waiting if item.request.stamp_ns]:
            self._waiting.remove(item)
            self._drop(item, 'the recording that its image belonged to is over')
        self._newest_ns = None
