# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracker of a stream: each call of `step` takes one image with prompts and returns masks.

The rules are those of the official SAM 2 video predictor run forward in time, with a memory bank
of bounded size. All objects share one run of the image encoder; the other functions of the model
run in batches of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Features, Runtime
from tam_ros.tracking.bank import BankShape
from tam_ros.tracking.frame_pipeline import (
    FrameContext,
    FramePipeline,
)
from tam_ros.tracking.frame_result import FrameResult, describe
from tam_ros.tracking.late_prompts import SPARE_ROWS, LatePrompts, StreamFrame
from tam_ros.tracking.mask_prediction import MaskPrediction
from tam_ros.tracking.model_tracker import ModelTracker
from tam_ros.tracking.network_input import FrameError, check_image
from tam_ros.tracking.objects import ObjectTable
from tam_ros.tracking.options import FIXED, TrackerOptions
from tam_ros.tracking.prompts import (
    NEW_OBJECT,
    Prompt,
    PromptError,
    check_begins,
    check_point_count,
    fit_mask,
)
from tam_ros.tracking.saved_tracks import SavedTracks, read_tracks, write_tracks


class EncodedImage(NamedTuple):
    """An image that a tracker keeps in encoded form.

    Attributes:
        runtime: the runtime that encoded it.
        features: its features.
        size: (height, width), pixels.
        stamp: seconds; None if the clock was restarted after it.
    """

    runtime: Runtime
    features: Features
    size: tuple[int, int]
    stamp: float | None


class Tracker(ModelTracker):
    """Tracks prompted objects through a stream of images; used from one thread.

    Open it in a `with` block, which releases the memory of the device at the end.
    """

    def __init__(self, runtime: Runtime, options: TrackerOptions | None = None) -> None:
        """Create a tracker on a runtime, which it closes at the end; see `open`."""
        super().__init__(runtime, options)
        history = self._options.history_frames
        self._rows = self._options.max_objects + (SPARE_ROWS if history else 0)
        spec = runtime.spec
        shape = BankShape(spec.slots, spec.pointer_slots, self._options.max_conditioning, history)
        # The images kept, the current one, and one that is encoded before the oldest is dropped.
        self._pipeline = FramePipeline(
            runtime, self._options, self._rows, shape, images=history + 2
        )
        self.reset()

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects, ascending, including new objects that are still being replayed."""
        return tuple(sorted(self._table.live.keys() | self._late.objects.keys()))

    @property
    def late_objects(self) -> tuple[int, ...]:
        """Ids of the objects that are being replayed after a late prompt, ascending."""
        return tuple(sorted(self._late.objects))

    def set_options(self, **options: Any) -> None:
        """Change options from the next step on, except those of `options.FIXED`.

        Raises:
            ValueError: a fixed option, or a value that `TrackerOptions` refuses. No option has
                changed then.
        """
        changed = {
            name: value for name, value in options.items() if getattr(self._options, name) != value
        }
        if fixed := [name for name in FIXED if name in changed]:
            raise ValueError(f'{", ".join(fixed)} cannot change while a tracker exists')
        if changed:
            self._options = replace(self._options, **changed)
            self._pipeline.options = self._late.options = self._options

    def new_id(self) -> int:
        """Return an id that has not been used since the start or the last reset."""
        return self._table.new_id()

    def reset(self) -> None:
        """Remove all objects, and forget the used ids, the time and the image size."""
        self._table = ObjectTable(self._rows)
        self._late = LatePrompts(self._pipeline, self._options, self._table)
        self._index = 0
        self._seconds = 0.0
        self._stamp: float | None = None
        self._size: tuple[int, int] | None = None

    def restart_clock(self) -> None:
        """Accept an earlier stamp for the next image and keep the objects.

        For a bag that loops or a new time source. The ages of the objects continue.
        """
        self._stamp = None
        self._late.forget_stamps()

    def remove(self, object_id: int) -> None:
        """Remove an object; its id is not used again before a reset.

        Raises:
            PromptError: there is no such object.
        """
        if object_id not in self.objects:
            raise PromptError(f'there is no object {object_id} to remove')
        self._table.live.pop(object_id, None)
        self._late.remove(object_id)

    def save(self, path: str | Path) -> None:
        """Write the objects and their memories to a file; see `saved_tracks`.

        Raises:
            OSError: the file cannot be written.
        """
        write_tracks(
            Path(path),
            self._runtime.spec,
            self._pipeline,
            SavedTracks(self._index, self._seconds, self._size, self._table),
        )

    def load(self, path: str | Path) -> None:
        """Replace the objects by those of a file that `save` wrote.

        They keep their ids and ages; the next image is treated as following the last one of the
        saved run.

        Raises:
            SavedTracksError: the file is damaged, of another model or other weights, or has
                more objects than `max_objects`. Nothing has changed then.
        """
        tracks = read_tracks(
            Path(path), self._runtime.spec, self._pipeline, self._options.max_objects
        )
        self.reset()
        self._index, self._seconds, self._size = tracks.index, tracks.seconds, tracks.size
        self._table.live, self._table.used = tracks.table.live, tracks.table.used

    def check(self, prompt: Prompt, size: tuple[int, int]) -> None:
        """Raise PromptError if `step` would refuse a prompt.

        Args:
            prompt: prompt to check.
            size: (height, width) of the image it will be passed with, pixels.
        """
        current = StreamFrame(FrameContext(self._index, 0.0, size, None), np.inf)
        self._assign([prompt], current)

    def encoded_image(self, stamp: float | None = None) -> EncodedImage:
        """Return a recent image as the model has encoded it, for image mode; nothing is changed.

        Args:
            stamp: stamp of the image, seconds; None: the newest one.

        Raises:
            PromptError: that image is not kept, see `TrackerOptions.prompt_history_seconds`.
        """
        frame, features = self._late.encoded(stamp)
        return EncodedImage(self._runtime, features, frame.context.size, frame.stamp)

    def step(
        self, image: NDArray[np.uint8], stamp: float, prompts: Sequence[Prompt] = ()
    ) -> FrameResult:
        """Track all objects into the next image.

        Several prompts for one object are applied in order, and clicks add up. An object that
        does not exist yet begins on this image; an existing one is first tracked, then refined.
        A prompt with the stamp of an earlier image is applied to that image and its object is
        replayed up to this one, over several steps if necessary. Until then a new object is not
        in the results, and an existing one is tracked without the prompt.

        Args:
            image: uint8 RGB [H, W, 3].
            stamp: stamp of the image, seconds; later than that of the previous image.
            prompts: made on this image or on a recent one.

        Raises:
            FrameError: the image or its stamp cannot be used.
            PromptError: a prompt cannot be used. In both cases nothing has changed.
        """
        self._pipeline.clock.restart()
        size, elapsed = self._check_frame(image, stamp)
        current = StreamFrame(
            FrameContext(self._index, self._seconds + elapsed, size, None), stamp
        )
        if size != self._size:
            self._late.clear()  # there are no objects, and the past images have another size
        assigned = self._assign(prompts, current)
        begun = set(self.objects)
        for _, object_id, object_prompts in assigned:
            if object_id not in begun or object_prompts[0].replace:
                check_begins(object_prompts, object_id)
            begun.add(object_id)
        if self._options.history_frames or self._table.live or assigned:
            current.context = replace(current.context, network_input=self._pipeline.resize(image))
        for frame, object_id, object_prompts in assigned:
            if frame is current:
                current.prompts[object_id] = object_prompts
            else:
                self._late.add(frame, object_id, object_prompts)
        for memory in self._late.catch_up():
            self._table.add(memory)
        predictions = self._track(current)
        result = describe(
            self._table.live,
            predictions,
            current.context,
            stamp,
            self._options.lost_after,
            self._pipeline.clock,
        )
        removed = self._overdue(current.context.seconds)
        for object_id in removed:
            self.remove(object_id)
        self._late.keep(current)
        self._index += 1
        self._stamp, self._seconds, self._size = stamp, current.context.seconds, size
        return replace(result, removed=removed)

    def _overdue(self, now: float) -> tuple[int, ...]:
        """Return the objects that `TrackerOptions.remove_after` removes, except late ones."""
        limit = self._options.remove_after
        if limit is None:
            return ()
        return tuple(
            object_id
            for object_id, memory in sorted(self._table.live.items())
            if now - memory.seen_at > limit and object_id not in self._late.objects
        )

    def _track(self, current: StreamFrame) -> dict[int, MaskPrediction]:
        """Track all live objects into the current image, and begin those prompted on it."""
        # A new object that is still being replayed is given the prompts of this image once its
        # replay reaches this image.
        prompts = {
            object_id: object_prompts
            for object_id, object_prompts in current.prompts.items()
            if object_id in self._table.live or object_id not in self._late.objects
        }
        objects = [memory for _, memory in sorted(self._table.live.items())]
        if not prompts and not objects:
            return {}
        assert current.context.network_input is not None
        current.features = self._pipeline.encode(current.context.network_input)
        free = self._table.free_rows(one.row for one in self._late.objects.values())
        outcome = self._pipeline.track(
            current.context, current.features, objects, prompts, lambda: next(free)
        )
        for memory in outcome.new_objects:
            self._table.add(memory)
        return outcome.predictions

    def _check_frame(
        self, image: NDArray[np.uint8], stamp: float
    ) -> tuple[tuple[int, int], float]:
        """Return the size of an image, (height, width), and the seconds since the previous one."""
        check_image(image)
        size = image.shape[:2]
        if self.objects and self._size not in (None, size):
            assert self._size is not None
            raise FrameError(
                f'the image is {size[1]}x{size[0]} but the objects were prompted on images of '
                f'{self._size[1]}x{self._size[0]}; reset the tracker to change the size'
            )
        if not np.isfinite(stamp):
            raise FrameError(f'the stamp {stamp} is not finite')
        if self._stamp is None:
            return size, 0.0
        if stamp == self._stamp:
            raise FrameError(
                f'the stamp {stamp:.6f} s is that of the previous image, which was tracked already'
            )
        if stamp < self._stamp:
            raise FrameError(
                f'time went back by {self._stamp - stamp:.6f} s; restart the clock or reset the '
                'tracker if this is intended'
            )
        return size, stamp - self._stamp

    def _assign(
        self, prompts: Sequence[Prompt], current: StreamFrame
    ) -> list[tuple[StreamFrame, int, list[Prompt]]]:
        """Check prompts, group them by image and object, and choose the ids of new objects.

        Returns:
            Image, object id and prompts of each group, in the order of the first prompt of each.
        """
        assigned: dict[tuple[int, int], tuple[StreamFrame, int, list[Prompt]]] = {}
        first_images: dict[int, int] = {}  # of new objects
        late: set[int] = set()
        known = set(self.objects)
        spec = self._runtime.spec
        for prompt in prompts:
            frame = (
                current if prompt.stamp is None else self._late.find_frame(prompt.stamp, current)
            )
            index = frame.context.index
            prompt.check_image(*frame.context.size)
            number = prompt.object_id
            if number == NEW_OBJECT:
                number = self._table.new_id({*first_images, *(p.object_id for p in prompts)})
            elif number in self._table.used and number not in known:
                raise PromptError(
                    f'object {number} was removed and ids are not used again; use 0 or a new id'
                )
            if number not in known and index < first_images.setdefault(number, index):
                raise PromptError(f'object {number} begins on a later image than this prompt')
            if number in known and frame is not current:
                self._late.check(frame, number, late)
                late.add(number)
            object_prompts = assigned.setdefault((index, number), (frame, number, []))[2]
            if prompt.replace:
                object_prompts.clear()
            object_prompts.append(prompt)
            before = [] if object_prompts[0].replace else frame.prompts.get(number, [])
            check_point_count([*before, *object_prompts], number, 'one image', spec)
            if len(known | first_images.keys()) > self._options.max_objects:
                raise PromptError(
                    f'the limit of {self._options.max_objects} objects is reached; '
                    'remove one first'
                )
            if (
                prompt.mask_image is not None
                and not fit_mask(prompt.mask_image, spec.image_size).any()
            ):
                raise PromptError('the mask covers less than a pixel of the network input')
        return list(assigned.values())
