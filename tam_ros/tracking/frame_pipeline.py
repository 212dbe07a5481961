# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Runs the model on one image for any set of objects: resize, encode, attend, decode, remember.

Live tracking, the replay of late prompts and the tracking of recordings differ only in the images
and objects that they pass to this pipeline. The rules are those of the official SAM 2 video
predictor.

H and W are the sides of the image in pixels, R that of the network input, M = R / 4 that of a
predicted mask, B is a number of objects, C = `spec.dim`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import BankRows, Features, Floats, Handle, PromptTokens, Runtime
from tam_ros.tracking.bank import BankShape, MemoryBank
from tam_ros.tracking.mask_prediction import MaskPrediction, choose_masks
from tam_ros.tracking.network_input import resize_to_network
from tam_ros.tracking.objects import ObjectMemory
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.plausibility import Confidences, confidence
from tam_ros.tracking.prompts import (
    MASK_PROMPT_LOGIT,
    Prompt,
    fit_mask,
    mask_to_logits,
    mask_tokens,
    no_prompt_tokens,
    point_tokens,
)

FramePrompts = dict[int, list[Prompt]]
"""The prompts of one image by object id, in the order they were made."""


class StageClock:
    """Adds up the time spent in named stages of one step.

    Attributes:
        seconds: by stage, since `restart`.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin the next step; the dictionary of the last one is not written to any more."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a `with` block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


@dataclass(frozen=True, eq=False)
class FrameContext:
    """One image: its position in time, its size, and the network input made from it.

    Attributes:
        index: index of the image in the stream or recording, from 0.
        seconds: time of the image on the tracker's own clock, which never goes backwards.
        size: (height, width) of the image, pixels.
        network_input: uint8 RGB [R, R, 3]; None if the model will not run on the image.
        time: time of its entries in the memory banks, see `bank.Entry`; None: one later than the
            newest entry of each bank.
        reverse: whether tracking runs backwards, so that the following images are known instead
            of the preceding ones.
    """

    index: int
    seconds: float
    size: tuple[int, int]
    network_input: NDArray[np.uint8] | None
    time: int | None = None
    reverse: bool = False


class FrameOutcome(NamedTuple):
    """What `FramePipeline.track` found.

    Attributes:
        predictions: by object id; those that are not plausible are hidden.
        new_objects: objects that were prompted for the first time.
    """

    predictions: dict[int, MaskPrediction]
    new_objects: list[ObjectMemory]


class MemoryWrite(NamedTuple):
    """A memory of the current image that will be stored for one object.

    Attributes:
        object_id: id of the object.
        memory: memory of the object; None for a new object.
        bank: the bank in which the image is entered.
        conditioning: whether it is entered as a conditioning frame.
    """

    object_id: int
    memory: ObjectMemory | None
    bank: MemoryBank
    conditioning: bool


class FramePipeline:
    """Calls the functions of a model in the order that one image needs them."""

    def __init__(
        self, runtime: Runtime, options: TrackerOptions, rows: int, shape: BankShape, images: int
    ) -> None:
        """Allocate the memory storage of a runtime.

        Args:
            runtime: a runtime with the model loaded.
            options: options of the tracker.
            rows: number of objects whose memories are stored at once.
            shape: shape of the memory bank of each object.
            images: encoded images that exist at once, including the current one.
        """
        self.shape = shape
        self.clock = StageClock()
        self.options = options
        self._runtime = runtime
        self._spec = runtime.spec
        runtime.allocate(rows, shape.memory_slots, shape.pointer_slots, images)

    # --- image ---

    def resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize an RGB image, uint8 [H, W, 3], to the network input [R, R, 3]."""
        with self.clock.stage('resize'):
            return resize_to_network(image, self._spec.image_size, self.options.resize)

    def encode(self, network_input: NDArray[np.uint8]) -> Features:
        """Run the image encoder."""
        with self.clock.stage('image_encoder'):
            return self._runtime.image_encoder(network_input)

    # --- objects ---

    def track(
        self,
        context: FrameContext,
        features: Features,
        objects: list[ObjectMemory],
        prompts: FramePrompts,
        new_row: Callable[[], int],
    ) -> FrameOutcome:
        """Track objects into an image, apply its prompts, and store the memories of the image.

        The banks of the objects change last, so an error of the device before that loses nothing.

        Args:
            context: context of the image.
            features: features of the image.
            objects: objects that existed before the image.
            prompts: prompts of the image; an object that is not in `objects` is new.
            new_row: returns a free row of the storage for each new object.
        """
        predictions = self.predict(context, features, objects, prompts)
        return self.remember(context, features, objects, prompts, predictions, new_row)

    def predict(
        self,
        context: FrameContext,
        features: Features,
        objects: list[ObjectMemory],
        prompts: FramePrompts,
        refined: Mapping[int, MaskPrediction] | None = None,
    ) -> dict[int, MaskPrediction]:
        """Predict the mask of every object without storing anything; arguments as for `track`.

        `refined` contains predictions, by object id, that prompts refine instead of those of
        tracking.
        """
        tracked = [
            memory
            for memory in objects
            if memory.id not in prompts or not prompts[memory.id][0].replace
        ]
        conditioned: Handle = None
        predictions: dict[int, MaskPrediction] = {}
        ids = [memory.id for memory in tracked]
        if tracked:
            with self.clock.stage('memory_attention'):
                conditioned = self._runtime.memory_attention(
                    features, self._bank_rows(tracked, context)
                )
            with self.clock.stage('mask_decoder'):
                tokens = no_prompt_tokens(len(tracked), self._spec)
                decoded = self._decode(features, conditioned, tokens, multimask=True)
            predictions = dict(zip(ids, decoded, strict=True))
        with self.clock.stage('prompts'):
            for object_id, object_prompts in prompts.items():
                previous = predictions.get(object_id)
                source = (
                    features.without_memory
                    if previous is None
                    else self._runtime.select_object(conditioned, ids.index(object_id))
                )
                if refined:
                    previous = refined.get(object_id, previous)
                predictions[object_id] = self._apply_prompts(
                    object_prompts, features, source, previous, context.size
                )
        return predictions

    def remember(
        self,
        context: FrameContext,
        features: Features,
        objects: list[ObjectMemory],
        prompts: FramePrompts,
        predictions: dict[int, MaskPrediction],
        new_row: Callable[[], int],
        conditioning: bool | None = None,
    ) -> FrameOutcome:
        """Encode and store the memories of an image; arguments as for `track`.

        `conditioning` says whether a prompted image becomes a conditioning frame of an object that
        existed before; None: `TrackerOptions.refined_frames_condition`.
        """
        if conditioning is None:
            conditioning = self.options.refined_frames_condition
        known = {memory.id: memory for memory in objects}
        writes = [
            self._plan_write(object_id, known.get(object_id), prompts, conditioning)
            for object_id in predictions
            if object_id in prompts or self._is_remembered(predictions[object_id])
        ]
        new_objects: list[ObjectMemory] = []
        if writes:
            with self.clock.stage('memory_encoder'):
                new_objects = self._store(context, features, writes, prompts, predictions, new_row)
        shown = dict(predictions)
        for memory in (*objects, *new_objects):
            if not self._is_plausible(memory, context, predictions, prompts):
                shown[memory.id] = predictions[memory.id].hidden()
            if shown[memory.id].present:
                memory.seen_at = context.seconds
        return FrameOutcome(shown, new_objects)

    # --- storage ---

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        """Return the memories [slots, N, memory_dim] and pointers [slots, C] of a storage row."""
        return self._runtime.read_row(row)

    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        """Overwrite a storage row with arrays that `read_row` returned."""
        self._runtime.write_row(row, memories, pointers)

    # --- steps ---

    def _apply_prompts(
        self,
        prompts: list[Prompt],
        features: Features,
        source: Handle,
        previous: MaskPrediction | None,
        size: tuple[int, int],
    ) -> MaskPrediction:
        """Apply the prompts of one object in order.

        Args:
            prompts: prompts of the object, at least one.
            features: features of the image.
            source: features conditioned on the object's memories; those without memory for a new
                object.
            previous: prediction for the object on this image so far; None for a new object.
            size: (height, width) of the image, pixels.
        """
        points = np.zeros((0, 2), np.float32)
        labels = np.zeros(0, np.int64)
        for prompt in prompts:
            if prompt.drops_earlier_clicks:
                points, labels = points[:0], labels[:0]
            if prompt.mask_image is not None:
                previous = self._predict_from_mask(prompt.mask_image, features)
                continue
            points = np.concatenate((points, prompt.points_xy))
            labels = np.concatenate((labels, prompt.labels))
            tokens = point_tokens(
                points, labels, None if previous is None else previous.logits, size, self._spec
            )
            (previous,) = self._decode(features, source, tokens, multimask=len(points) <= 1)
        assert previous is not None
        return previous

    def _predict_from_mask(self, mask: NDArray[np.bool_], features: Features) -> MaskPrediction:
        """Return the mask of the prompt itself; only the object pointer comes from the network."""
        fitted = fit_mask(mask, self._spec.image_size)
        tokens = mask_tokens(fitted, self._spec)
        (decoded,) = self._decode(features, features.raw, tokens, multimask=False)
        logits = mask_to_logits(fitted, self._spec.mask_size)
        return MaskPrediction(logits, MASK_PROMPT_LOGIT, decoded.pointer)

    def _decode(
        self, features: Features, source: Handle, tokens: PromptTokens, multimask: bool
    ) -> list[MaskPrediction]:
        """Run the mask decoder and choose a candidate for each object."""
        candidates = self._runtime.mask_decoder(features, source, tokens)
        choices = np.full(len(tokens.labels), multimask)
        return choose_masks(*candidates, choices).predictions()

    def _bank_rows(self, tracked: list[ObjectMemory], context: FrameContext) -> BankRows:
        views = [memory.bank.view(context.time, context.reverse) for memory in tracked]
        return BankRows(
            np.array([memory.row for memory in tracked]),
            *(np.stack(column) for column in zip(*views, strict=True)),
        )

    def _is_plausible(
        self,
        memory: ObjectMemory,
        context: FrameContext,
        predictions: Mapping[int, MaskPrediction],
        prompts: FramePrompts,
    ) -> bool:
        """Return whether a mask may be shown, and count those that may as the object's usual ones.

        Memories are stored all the same: without them the model forgets what absence looks like.
        """
        prediction = predictions[memory.id]
        if memory.id in prompts:
            memory.confidences.clear()
            return True
        share = self.options.hide_below
        if share == 0 or not prediction.present:
            return True
        value = confidence(prediction.logits, prediction.predicted_iou)
        if not memory.confidences.plausible(value, share):
            return False
        memory.confidences.add(context.index, value)
        return True

    def _is_remembered(self, prediction: MaskPrediction) -> bool:
        return prediction.present or not self.options.skip_occluded_memories

    def _plan_write(
        self,
        object_id: int,
        memory: ObjectMemory | None,
        prompts: FramePrompts,
        conditioning: bool,
    ) -> MemoryWrite:
        if memory is None or (object_id in prompts and prompts[object_id][0].replace):
            return MemoryWrite(object_id, memory, MemoryBank(self.shape), conditioning=True)
        return MemoryWrite(object_id, memory, memory.bank, conditioning and object_id in prompts)

    def _store(
        self,
        context: FrameContext,
        features: Features,
        writes: list[MemoryWrite],
        prompts: FramePrompts,
        predictions: dict[int, MaskPrediction],
        new_row: Callable[[], int],
    ) -> list[ObjectMemory]:
        """Encode and store memories; return those of new objects."""
        prompted = np.array([write.object_id in prompts for write in writes], np.float32)
        logits = np.stack([predictions[write.object_id].logits for write in writes])
        pointers = np.stack([predictions[write.object_id].pointer for write in writes])
        encoded = self._runtime.memory_encoder(features, logits, prompted)
        rows = [new_row() if write.memory is None else write.memory.row for write in writes]
        slots = [write.bank.slots_for(context.index, write.conditioning) for write in writes]
        memory_slots, pointer_slots = (list(column) for column in zip(*slots, strict=True))
        self._runtime.store(rows, memory_slots, pointer_slots, encoded, pointers)

        new_objects = []
        for row, write in zip(rows, writes, strict=True):
            write.bank.add(context.index, write.conditioning, context.time)
            if write.memory is None:
                new_objects.append(
                    ObjectMemory(
                        write.object_id,
                        row,
                        write.bank,
                        born_index=context.index,
                        born_at=context.seconds,
                        seen_at=context.seconds,
                        confidences=Confidences(self.options.history_frames),
                    )
                )
            else:
                write.memory.bank = write.bank
        return new_objects
