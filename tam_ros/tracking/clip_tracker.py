# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracker of a recording, whose frames can be visited in any order.

In a recording, prompts may be made on every frame before anything is tracked, and tracking may run
backwards. The rules are those of the official video predictor, except that the memory bank is
bounded, by the number of frames given in the options.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Features, Runtime
from tam_ros.tracking.bank import BankShape
from tam_ros.tracking.frame_pipeline import (
    FrameContext,
    FramePipeline,
    FramePrompts,
)
from tam_ros.tracking.frame_result import FrameResult, describe
from tam_ros.tracking.mask_prediction import MaskPrediction
from tam_ros.tracking.model_tracker import ModelTracker
from tam_ros.tracking.network_input import FrameError, check_image
from tam_ros.tracking.objects import ObjectMemory, ObjectTable
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import (
    NEW_OBJECT,
    Prompt,
    PromptError,
    check_begins,
    check_point_count,
)


class ClipTracker(ModelTracker):
    """Tracks prompted objects through the frames of a recording; used from one thread.

    First prompt the objects on the frames that show them well. Then visit the frames in one
    direction, and those before the first prompt backwards from it. Every frame attends to all
    prompted frames, also to those that follow it.

    Open it in a `with` block, which releases the memory of the device at the end.
    """

    def __init__(self, runtime: Runtime, options: TrackerOptions | None = None) -> None:
        """Create a tracker on a runtime, which it closes at the end.

        Args:
            runtime: a runtime with the model loaded.
            options: `max_conditioning` limits the prompted frames kept for each object, and
                `prompt_history_frames` the other frames beyond the last fifteen. Every prompted
                frame that is kept takes a memory slot of the model from recent frames.
        """
        super().__init__(runtime, options)
        spec = runtime.spec
        shape = BankShape(
            spec.slots,
            spec.pointer_slots,
            self._options.max_conditioning,
            self._options.prompt_history_frames,
        )
        self._pipeline = FramePipeline(
            runtime, self._options, self._options.max_objects, shape, images=2
        )
        self._table = ObjectTable(self._options.max_objects)
        # By frame and object: the prompts, what they gave, and whether the frame was tracked
        # backwards the last time.
        self._prompts: dict[tuple[int, int], list[Prompt]] = {}
        self._prompted: dict[tuple[int, int], MaskPrediction] = {}
        self._tracked: dict[tuple[int, int], bool] = {}
        self._encoded: tuple[int, Features] | None = None
        self._size: tuple[int, int] | None = None

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        return tuple(sorted(self._table.live))

    def check(self, prompt: Prompt, size: tuple[int, int]) -> None:
        """Raise PromptError if `prompt` would refuse a prompt on a frame that has none yet.

        Args:
            prompt: prompt to check.
            size: (height, width) of the frame, pixels.
        """
        prompt.check_image(*size)
        check_point_count([prompt], prompt.object_id, 'one image', self._runtime.spec)

    def prompt(
        self,
        index: int,
        image: NDArray[np.uint8],
        prompts: Sequence[Prompt],
        stamp: float | None = None,
    ) -> FrameResult:
        """Prompt objects on a frame.

        On a frame that was not tracked yet, all prompts of an object are applied together, and
        the frame becomes a conditioning frame. On a frame that was tracked, they refine its mask,
        and `TrackerOptions.refined_frames_condition` says whether it becomes one.

        Args:
            index: index of the frame.
            image: image of the frame, uint8 RGB [H, W, 3].
            prompts: made on the frame.
            stamp: stamp of the frame, seconds; None: its index.

        Returns:
            The prompted objects on this frame.

        Raises:
            FrameError: the image cannot be used.
            PromptError: a prompt cannot be used. In both cases nothing has changed.
        """
        self._pipeline.clock.restart()
        context = self._check_frame(index, image, stamp)
        assigned = self._assign(index, context.size, prompts)
        for object_id, object_prompts in assigned.items():
            if object_id not in self._table.live or object_prompts[0].replace:
                check_begins(object_prompts, object_id)
        self._size = context.size
        features = self._encode(context, image)
        predictions: dict[int, MaskPrediction] = {}
        for object_id, object_prompts in assigned.items():
            memory = self._table.live.get(object_id)
            if object_prompts[0].replace and memory is not None:
                self._forget(object_id)
                memory = None
            reverse = self._tracked.get((index, object_id))
            if memory is not None and reverse is not None:
                found = self._refine(
                    replace(context, reverse=reverse), features, memory, object_prompts
                )
            else:
                object_prompts = self._prompts[index, object_id] = [
                    *self._prompts.get((index, object_id), ()),
                    *object_prompts,
                ]
                found = self._condition(context, features, memory, {object_id: object_prompts})
                self._prompted[index, object_id] = found[object_id]
            predictions |= found
        return self._describe(context, predictions)

    def clear(self, index: int, object_id: int) -> None:
        """Withdraw the prompts of an object on a frame, which becomes an ordinary frame.

        Raises:
            PromptError: the object has no prompt on the frame, or no prompt elsewhere.
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
        """Track objects into a frame; where they were prompted, the result is that of the prompt.

        Args:
            index: index of the frame, ascending from call to call, or descending with `reverse`.
            image: image of the frame, uint8 RGB [H, W, 3].
            reverse: whether tracking runs backwards.
            only: ids of the objects to track; None: all.
            stamp: stamp of the frame, seconds; None: its index.

        Raises:
            FrameError: the image cannot be used.
        """
        self._pipeline.clock.restart()
        context = replace(self._check_frame(index, image, stamp), reverse=reverse)
        self._size = context.size
        chosen = [
            memory
            for object_id, memory in sorted(self._table.live.items())
            if only is None or object_id in only
        ]
        predictions = {
            memory.id: self._prompted[index, memory.id]
            for memory in chosen
            if (index, memory.id) in self._prompted
        }
        for object_id in predictions:
            self._tracked[index, object_id] = reverse
        unprompted = [memory for memory in chosen if memory.id not in predictions]
        if unprompted:
            features = self._encode(context, image)
            outcome = self._pipeline.track(context, features, unprompted, {}, self._no_row)
            predictions |= outcome.predictions
            for object_id in outcome.predictions:
                self._tracked[index, object_id] = reverse
        return self._describe(context, predictions)

    def _check_frame(
        self, index: int, image: NDArray[np.uint8], stamp: float | None
    ) -> FrameContext:
        check_image(image)
        size = image.shape[:2]
        if self._size not in (None, size):
            raise FrameError(f'frame {index} is {size[1]}x{size[0]}, unlike the frames before it')
        return FrameContext(index, index if stamp is None else stamp, size, None, time=index)

    def _encode(self, context: FrameContext, image: NDArray[np.uint8]) -> Features:
        """Encode a frame, unless it is the one that was encoded last."""
        if self._encoded is None or self._encoded[0] != context.index:
            features = self._pipeline.encode(self._pipeline.resize(image))
            self._encoded = context.index, features
        return self._encoded[1]

    def _assign(
        self, index: int, size: tuple[int, int], prompts: Sequence[Prompt]
    ) -> FramePrompts:
        """Check prompts, group them by object, and choose the ids of new objects."""
        assigned: FramePrompts = {}
        for prompt in prompts:
            prompt.check_image(*size)
            number = prompt.object_id
            if number == NEW_OBJECT:
                number = self._table.new_id({*assigned, *(one.object_id for one in prompts)})
            object_prompts = assigned.setdefault(number, [])
            object_prompts.append(prompt)
            before = self._prompts.get((index, number), [])
            check_point_count(
                [*before, *object_prompts], number, f'frame {index}', self._runtime.spec
            )
            if len(self._table.live.keys() | assigned.keys()) > self._options.max_objects:
                raise PromptError(f'the limit of {self._options.max_objects} objects is reached')
        return assigned

    def _forget(self, object_id: int) -> None:
        del self._table.live[object_id]
        for table in (self._prompts, self._prompted, self._tracked):
            for key in [key for key in table if key[1] == object_id]:
                del table[key]

    def _condition(
        self,
        context: FrameContext,
        features: Features,
        memory: ObjectMemory | None,
        prompts: FramePrompts,
    ) -> dict[int, MaskPrediction]:
        """Apply prompts without memory, and store the frame as a conditioning frame."""
        predictions = self._pipeline.predict(context, features, [], prompts)
        outcome = self._pipeline.remember(
            context,
            features,
            [memory] if memory else [],
            prompts,
            predictions,
            lambda: next(self._table.free_rows()),
            conditioning=True,
        )
        for new_object in outcome.new_objects:
            self._table.add(new_object)
        return predictions

    def _refine(
        self,
        context: FrameContext,
        features: Features,
        memory: ObjectMemory,
        object_prompts: list[Prompt],
    ) -> dict[int, MaskPrediction]:
        """Refine the mask of an object on a frame that was tracked."""
        key = context.index, memory.id
        prompts = {memory.id: [Prompt.merged([*self._prompts.get(key, []), *object_prompts])]}
        refined = {memory.id: self._prompted[key]} if key in self._prompted else None
        predictions = self._pipeline.predict(context, features, [memory], prompts, refined)
        entry = memory.bank.entry(context.index)
        # The official predictor does not store a refinement of a conditioning frame.
        if self._options.refined_frames_condition or not (entry and entry.conditioning):
            self._pipeline.remember(
                context, features, [memory], prompts, predictions, self._no_row
            )
            self._prompted[key] = predictions[memory.id]
            self._prompts.setdefault(key, []).extend(object_prompts)
        return predictions

    def _describe(
        self, context: FrameContext, predictions: dict[int, MaskPrediction]
    ) -> FrameResult:
        return describe(
            self._table.live,
            predictions,
            context,
            context.seconds,
            math.inf,
            self._pipeline.clock,
        )

    @staticmethod
    def _no_row() -> int:
        raise AssertionError('no object begins here')
