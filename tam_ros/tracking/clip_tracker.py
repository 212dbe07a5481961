# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracking in a recording whose frames can be visited in any order.

A stream only goes forward and a prompt comes once. In a recording a prompt may be given on every
frame, before anything is tracked, and tracking may run backwards from it. The rules are those of
the official video predictor; the bank alone is bounded, by the number of frames given.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Features, Runtime
from tam_ros.tracking.bank import BankShape
from tam_ros.tracking.decoding import Decision
from tam_ros.tracking.frame_pipeline import Moment, Plan, Stages
from tam_ros.tracking.frame_result import FrameResult, describe
from tam_ros.tracking.images import FrameError, check_image
from tam_ros.tracking.objects import ObjectMemory, ObjectTable
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import NEW_OBJECT, Prompt, PromptError


class ClipTracker:
    """Tracks prompted objects through the frames of a recording; used from one thread.

    Prompt first, wherever the objects are easy to see; then visit the frames in one direction,
    and from the first prompt backwards if there is anything before it. Every frame then knows all
    prompts, those that lie ahead of it as well.
    """

    def __init__(self, runtime: Runtime, options: TrackerOptions | None = None) -> None:
        """Wrap a runtime, which the tracker owns from then on.

        Args:
            runtime: with the model loaded.
            options: `max_conditioning` limits the prompted frames an object keeps, and
                `prompt_history_frames` how many frames beside the last fifteen. Fewer prompted frames
                leave more of the model's memory slots to recent ones.
        """
        self._options = options or TrackerOptions()
        self._runtime = runtime
        spec = runtime.spec
        self._stages = Stages(
            runtime,
            self._options,
            self._options.max_objects,
            BankShape(
                spec.slots,
                spec.pointer_slots,
                self._options.max_conditioning,
                self._options.prompt_history_frames,
            ),
            images=2,
        )
        self._table = ObjectTable(self._options.max_objects)
        self._prompts: dict[tuple[int, int], list[Prompt]] = {}  # by frame and object
        self._prompted: dict[tuple[int, int], Decision] = {}
        self._tracked: dict[tuple[int, int], bool] = {}  # the last direction
        self._encoded: tuple[int, Features] | None = None
        self._size: tuple[int, int] | None = None

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        return tuple(sorted(self._table.live))

    def prompt(
        self,
        index: int,
        image: NDArray[np.uint8],
        prompts: Sequence[Prompt],
        stamp: float | None = None,
    ) -> FrameResult:
        """Prompt objects on a frame.

        On a frame that was not tracked yet, all prompts an object was given there count as given
        together, and the frame is a conditioning frame. Where it was tracked, they refine what
        was found, and `TrackerOptions.refined_frames_condition` says what that is from then on.

        Args:
            index: of the frame.
            image: the frame, uint8 RGB [H, W, 3].
            prompts: made on it.
            stamp: of the frame, seconds; None: its index.

        Returns:
            The objects that were prompted, on this frame.

        Raises:
            FrameError, PromptError: nothing has changed then.
        """
        moment = self._moment(index, image, stamp)
        plan = self._plan(index, moment.size, prompts)
        features = self._features(moment, image)
        decisions: dict[int, Decision] = {}
        for number, own in plan.items():
            memory = self._table.live.get(number)
            if own[0].replace and memory is not None:
                self._forget(number)
                memory = None
            tracked = self._tracked.get((index, number))
            if memory is not None and tracked is not None:
                found = self._refine(replace(moment, reverse=tracked), features, memory, own)
            else:
                own = self._prompts[index, number] = [
                    *self._prompts.get((index, number), ()),
                    *own,
                ]
                found = self._begin(moment, features, memory, {number: own})
                self._prompted[index, number] = found[number]
            decisions |= found
        return self._frame(moment, decisions)

    def clear(self, index: int, object_id: int) -> None:
        """Withdraw the prompts of an object on a frame, which is an ordinary one from then on.

        Raises:
            PromptError: there are none, or there are no others.
        """
        if (index, object_id) not in self._prompted:
            raise PromptError(f'object {object_id} was not prompted on frame {index}')
        if sum(number == object_id for _, number in self._prompted) == 1:
            raise PromptError(
                f'frame {index} has the only prompt of object {object_id}; '
                'prompt it elsewhere first'
            )
        del self._prompted[index, object_id]
        self._prompts.pop((index, object_id), None)
        self._table.live[object_id].bank.demote(index)

    def step(
        self,
        index: int,
        image: NDArray[np.uint8],
        reverse: bool = False,
        *,
        only: Container[int] | None = None,
        stamp: float | None = None,
    ) -> FrameResult:
        """Track objects into a frame; where they were prompted, they are where that said.

        Args:
            index: of the frame; in order, or against it with `reverse`.
            image: the frame, uint8 RGB [H, W, 3].
            reverse: time runs backwards.
            only: ids of the objects meant; None: all.
            stamp: of the frame, seconds; None: its index.

        Raises:
            FrameError: the image cannot be used.
        """
        moment = replace(self._moment(index, image, stamp), reverse=reverse)
        known = [
            memory
            for number, memory in sorted(self._table.live.items())
            if only is None or number in only
        ]
        decisions = {
            memory.id: self._prompted[index, memory.id]
            for memory in known
            if (index, memory.id) in self._prompted
        }
        for number in decisions:
            self._tracked[index, number] = reverse
        moving = [memory for memory in known if memory.id not in decisions]
        if moving:
            features = self._features(moment, image)
            outcome = self._stages.advance(moment, features, moving, {}, self._no_row)
            decisions |= outcome.decisions
            for number in outcome.decisions:
                self._tracked[index, number] = reverse
        return self._frame(moment, decisions)

    def close(self) -> None:
        """Give back what the runtime holds on a device."""
        self._runtime.close()

    def _moment(self, index: int, image: NDArray[np.uint8], stamp: float | None) -> Moment:
        check_image(image)
        size = image.shape[:2]
        if self._size not in (None, size):
            raise FrameError(f'frame {index} is {size[1]}x{size[0]}, unlike those before')
        self._size = size
        return Moment(index, index if stamp is None else stamp, size, None, time=index)

    def _features(self, moment: Moment, image: NDArray[np.uint8]) -> Features:
        if self._encoded is None or self._encoded[0] != moment.index:
            self._encoded = moment.index, self._stages.encode(self._stages.shrink(image))
        return self._encoded[1]

    def _plan(self, index: int, size: tuple[int, int], prompts: Sequence[Prompt]) -> Plan:
        plan: Plan = {}
        limit = self._runtime.spec.point_tokens - 1
        for prompt in prompts:
            prompt.check_image(*size)
            number = prompt.object_id
            if number == NEW_OBJECT:
                number = self._table.new_id({*plan, *(one.object_id for one in prompts)})
            own = plan.setdefault(number, [])
            own.append(prompt)
            tokens = sum(
                len(one.points_xy) for one in (*self._prompts.get((index, number), ()), *own)
            )
            if tokens > limit:
                raise PromptError(
                    f'{tokens} points for object {number} on frame {index}; the '
                    f'limit is {limit}, a box counting as two'
                )
            if len(self._table.live.keys() | plan.keys()) > self._options.max_objects:
                raise PromptError(f'the limit of {self._options.max_objects} objects is reached')
        return plan

    def _forget(self, number: int) -> None:
        del self._table.live[number]
        for known in (self._prompts, self._prompted, self._tracked):
            for key in [key for key in known if key[1] == number]:
                del known[key]

    def _begin(
        self, moment: Moment, features: Features, memory: ObjectMemory | None, plan: Plan
    ) -> dict[int, Decision]:
        """Prompt a frame without memory, and make it a conditioning frame."""
        found = self._stages.decide(moment, features, [], plan)
        outcome = self._stages.remember(
            moment,
            features,
            [memory] if memory else [],
            plan,
            found,
            lambda: next(self._table.free_rows()),
            conditioning=True,
        )
        for begun in outcome.begun:
            self._table.enter(begun)
        return found

    def _refine(
        self, moment: Moment, features: Features, memory: ObjectMemory, own: list[Prompt]
    ) -> dict[int, Decision]:
        before = self._prompts.get((moment.index, memory.id), [])
        plan = {memory.id: [Prompt.together([*before, *own])]}
        found = self._stages.decide(
            moment,
            features,
            [memory],
            plan,
            {
                number: decision
                for (index, number), decision in self._prompted.items()
                if index == moment.index
            },
        )
        entry = memory.bank.holds(moment.index)
        # The official predictor drops a refinement of a frame that is a conditioning one already.
        if self._options.refined_frames_condition or not (entry and entry.conditioning):
            self._stages.remember(moment, features, [memory], plan, found, self._no_row)
            self._prompted[moment.index, memory.id] = found[memory.id]
            self._prompts.setdefault((moment.index, memory.id), []).extend(own)
        return found

    def _frame(self, moment: Moment, decisions: dict[int, Decision]) -> FrameResult:
        return describe(
            self._table.live, decisions, moment, moment.seconds, math.inf, self._stages.clock
        )

    @staticmethod
    def _no_row() -> int:
        raise AssertionError('no object begins here')
