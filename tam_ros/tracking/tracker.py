# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracker: one verb, `step`, takes an image and prompts and returns masks.

Its rules are those of the official SAM 2 style video predictor run forward in time, with a bank
that never grows. All objects share one encoder pass; the rest runs in batches of objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.loading import open_runtime
from tam_ros.runtime.base import DeviceMemory, Runtime
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tracking import masks
from tam_ros.tracking import saved_tracks as archive
from tam_ros.tracking.bank import BankShape
from tam_ros.tracking.decoding import Decision
from tam_ros.tracking.frame_pipeline import Moment, Stages
from tam_ros.tracking.frame_result import FrameResult, describe
from tam_ros.tracking.images import FrameError, check_image
from tam_ros.tracking.late_prompts import SPARE_ROWS, PastFrame, Recall
from tam_ros.tracking.objects import ObjectTable
from tam_ros.tracking.options import FIXED, TrackerOptions
from tam_ros.tracking.prompts import NEW_OBJECT, Prompt, PromptError


class Tracker:
    """Tracks prompted objects through a stream of images; used from one thread."""

    def __init__(self, runtime: Runtime, options: TrackerOptions | None = None) -> None:
        """Wrap a runtime, which the tracker owns from then on; see `open`."""
        self._options = options or TrackerOptions()
        self._runtime = runtime
        self._rows = self._options.max_objects + (SPARE_ROWS if self._options.history else 0)
        shape = BankShape(
            runtime.spec.slots,
            runtime.spec.pointer_slots,
            self._options.max_conditioning,
            self._options.history,
        )
        # The past ones, the present one, and one that is encoded before an old one is let go.
        self._stages = Stages(
            runtime, self._options, self._rows, shape, images=self._options.history + 2
        )
        self.reset()

    @classmethod
    def open(
        cls,
        model: str,
        weights: str | Path | None = None,
        runtime: str = 'onnxruntime',
        *,
        threads: int | None = None,
        options: TrackerOptions | None = None,
        precision: str = 'auto',
        engines: EngineOptions | None = None,
    ) -> Tracker:
        """Load a model and make a tracker of it.

        Args:
            model: catalogue name, for instance `efficienttam_ti_512x512`.
            weights: a checkpoint, a folder of exported graphs, `'untrained'`, or None for
                what is bundled or downloaded.
            runtime: one of `tam_ros.runtime.RUNTIMES`.
            threads: CPU threads; None leaves it to the library.
            options: see `TrackerOptions`.
            precision: see `tam_ros.runtime.open_runtime`.
            engines: see `tam_ros.runtime.engine_options`.

        Raises:
            tam_ros.catalogue.UnknownModelError: no such model.
            tam_ros.runtime.WeightsError: weights missing, damaged or of another model.
            tam_ros.runtime.EngineError: a device or its engines cannot be used.
        """
        opened = open_runtime(
            model, weights, runtime, threads, precision=precision, engines=engines
        )
        try:
            return cls(opened, options)
        except BaseException:
            opened.close()  # no room for the memories, for instance
            raise

    @property
    def model(self) -> str:
        """Catalogue name of the model."""
        return self._runtime.spec.name

    @property
    def runtime(self) -> str:
        """Name of the backend."""
        return self._runtime.name

    @property
    def weights(self) -> str:
        """What the weights are, for people; starts with `untrained` if they are."""
        return self._runtime.spec.weights

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects, ascending; one whose prompt came late counts from the start."""
        return tuple(sorted(self._table.live.keys() | self._recall.late.keys()))

    @property
    def info(self) -> Mapping[str, str]:
        """What else the backend says of itself: its device, its precision, its engine."""
        return self._runtime.info

    @property
    def late(self) -> tuple[int, ...]:
        """Ids of the objects whose prompts came late and are being replayed."""
        return tuple(sorted(self._recall.late))

    def device_memory(self) -> DeviceMemory | None:
        """Return the memory of the backend's device; None where it is the host's."""
        return self._runtime.device_memory()

    def set_options(self, **options: Any) -> None:
        """Change options from the next step on, those of `options.FIXED` excepted.

        Raises:
            ValueError: a fixed one, or a value that `TrackerOptions` refuses. Nothing has
                changed then.
        """
        changed = {
            name: value for name, value in options.items() if getattr(self._options, name) != value
        }
        if fixed := [name for name in FIXED if name in changed]:
            raise ValueError(f'{", ".join(fixed)} cannot change while a tracker lives')
        if changed:
            self._options = replace(self._options, **changed)
            self._stages.options = self._recall.options = self._options

    def new_id(self) -> int:
        """Return an id that was never used since the start or the last reset."""
        return self._table.new_id()

    def reset(self) -> None:
        """Forget all objects, the ids used, the time and the image size."""
        self._table = ObjectTable(self._rows)
        self._recall = Recall(self._stages, self._options, self._table)
        self._index = 0
        self._seconds = 0.0
        self._stamp: float | None = None
        self._size: tuple[int, int] | None = None

    def restart_clock(self) -> None:
        """Accept an earlier stamp next, keeping the objects: a bag that loops, a new time source.

        The ages of the objects go on from where they are.
        """
        self._stamp = None
        self._recall.forget_stamps()

    def remove(self, object_id: int) -> None:
        """Forget an object; its id is not used again. PromptError if there is none."""
        if object_id not in self.objects:
            raise PromptError(f'there is no object {object_id} to remove')
        self._table.live.pop(object_id, None)
        self._recall.forget(object_id)

    def save(self, path: str | Path) -> None:
        """Write the objects and their memories into a file; see `tracking.archive`."""
        archive.write(
            Path(path),
            self._runtime.spec,
            self._stages,
            archive.Archive(self._index, self._seconds, self._size, self._table),
        )

    def load(self, path: str | Path) -> None:
        """Go on with the objects of a file that `save` wrote, in place of those of now.

        They keep their ids and ages; the next image is taken for the one after the last.

        Raises:
            ArchiveError: the file is damaged, of another model or other weights, or holds more
                objects than `max_objects`. Nothing has changed then.
        """
        found = archive.read(
            Path(path), self._runtime.spec, self._stages, self._options.max_objects
        )
        self.reset()
        self._index, self._seconds, self._size = found.index, found.seconds, found.size
        self._table.live, self._table.used = found.table.live, found.table.used

    def close(self) -> None:
        """Give back what the runtime holds on a device; the tracker is unusable then."""
        self._runtime.close()

    def check(self, prompt: Prompt, size: tuple[int, int]) -> None:
        """Raise PromptError where `step` would refuse the prompt.

        Args:
            prompt: to check.
            size: (height, width) of the image it is meant for, pixels.
        """
        here = PastFrame(Moment(self._index, 0.0, size, None), np.inf)
        self._assign([prompt], here)

    def step(
        self, image: NDArray[np.uint8], stamp: float, prompts: Sequence[Prompt] = ()
    ) -> FrameResult:
        """Track all objects into the next image.

        Several prompts for one object are applied in order, the clicks adding up. An object
        that is not live yet begins on this frame; a live one is first tracked, then refined. A
        prompt with the stamp of an earlier image is applied there, and its object brought
        forward, over several steps if it is long ago; until then a new object is not shown and
        a live one is shown as it would be without the prompt.

        Args:
            image: uint8 RGB [H, W, 3].
            stamp: of the image, seconds; later than the one before.
            prompts: made on this image or on a recent one.

        Raises:
            FrameError: the image or its stamp cannot be used.
            PromptError: a prompt cannot be used. In both cases nothing has changed.
        """
        self._stages.clock.seconds = {}
        size, elapsed = self._check_frame(image, stamp)
        here = PastFrame(Moment(self._index, self._seconds + elapsed, size, None), stamp)
        if size != self._size:
            self._recall.clear()  # nothing lives; the past is of another size
        assigned = self._assign(prompts, here)
        if self._options.history or self._table.live or assigned:
            here.moment = replace(here.moment, small=self._stages.shrink(image))
        for frame, number, own in assigned:
            if frame is here:
                here.plan[number] = own
            else:
                self._recall.add(frame, number, own)
        for memory in self._recall.catch_up():
            self._table.enter(memory)
        decisions = self._track(here)
        frame = describe(
            self._table.live,
            decisions,
            here.moment,
            stamp,
            self._options.lost_after,
            self._stages.clock,
        )
        removed = self._overdue(here.moment.seconds)
        for number in removed:
            self.remove(number)
        self._recall.push(here)
        self._index += 1
        self._stamp, self._seconds, self._size = stamp, here.moment.seconds, size
        return replace(frame, removed=removed)

    def _overdue(self, now: float) -> tuple[int, ...]:
        """Return the objects that were not seen for too long; a late prompt may still help."""
        limit = self._options.remove_after
        return (
            ()
            if limit is None
            else tuple(
                number
                for number, memory in sorted(self._table.live.items())
                if now - memory.seen_at > limit and number not in self._recall.late
            )
        )

    def _track(self, here: PastFrame) -> dict[int, Decision]:
        """Track every live object into the present image, and begin those prompted on it."""
        # An object that is late meets the prompts of this image when its replay gets here.
        plan = {
            number: own
            for number, own in here.plan.items()
            if number in self._table.live or number not in self._recall.late
        }
        objects = [memory for _, memory in sorted(self._table.live.items())]
        if not plan and not objects:
            return {}
        assert here.moment.small is not None
        here.features = self._stages.encode(here.moment.small)
        free = self._table.free_rows(one.row for one in self._recall.late.values())
        outcome = self._stages.advance(
            here.moment, here.features, objects, plan, lambda: next(free)
        )
        for memory in outcome.begun:
            self._table.enter(memory)
        return outcome.decisions

    def _check_frame(
        self, image: NDArray[np.uint8], stamp: float
    ) -> tuple[tuple[int, int], float]:
        check_image(image)
        size = image.shape[:2]
        if self.objects and self._size not in (None, size):
            assert self._size is not None
            raise FrameError(
                f'the image is {size[1]}x{size[0]} but the objects live on images of '
                f'{self._size[1]}x{self._size[0]}; reset the tracker to change the size'
            )
        if not np.isfinite(stamp):
            raise FrameError(f'the stamp {stamp} is not finite')
        if self._stamp is None:
            return size, 0.0
        if stamp == self._stamp:
            raise FrameError(f'time stands still at {stamp:.6f} s: this image was tracked already')
        if stamp < self._stamp:
            raise FrameError(
                f'time went back by {self._stamp - stamp:.6f} s; restart the clock or reset the '
                'tracker if this is meant'
            )
        return size, stamp - self._stamp

    def _assign(
        self, prompts: Sequence[Prompt], here: PastFrame
    ) -> list[tuple[PastFrame, int, list[Prompt]]]:
        """Check prompts and sort them by image and object, choosing the ids of new objects.

        Returns:
            Image, object and its prompts, in the order of the first prompt of each.
        """
        assigned: dict[tuple[int, int], tuple[PastFrame, int, list[Prompt]]] = {}
        begins: dict[int, int] = {}
        late: set[int] = set()
        known = set(self.objects)
        limit = self._runtime.spec.point_tokens - 1
        for prompt in prompts:
            frame = here if prompt.stamp is None else self._recall.find(prompt.stamp, here)
            index = frame.moment.index
            prompt.check_image(*frame.moment.size)
            number = prompt.object_id
            if number == NEW_OBJECT:
                number = self._table.new_id({*begins, *(p.object_id for p in prompts)})
            elif number in self._table.used and number not in known:
                raise PromptError(
                    f'object {number} was removed and ids are not used again; use 0 or a new id'
                )
            if number not in known and index < begins.setdefault(number, index):
                raise PromptError(f'object {number} begins on a later image than this prompt')
            if number in known and frame is not here:
                self._recall.check(frame, number, late)
                late.add(number)
            own = assigned.setdefault((index, number), (frame, number, []))[2]
            if prompt.replace:
                own.clear()
            own.append(prompt)
            before = [] if own[0].replace else frame.plan.get(number, [])
            tokens = sum(len(one.points_xy) for one in (*before, *own))
            if tokens > limit:
                raise PromptError(
                    f'{tokens} points for object {number} on one image; the limit '
                    f'is {limit}, a box counting as two'
                )
            if len(known | begins.keys()) > self._options.max_objects:
                raise PromptError(
                    f'the limit of {self._options.max_objects} objects is reached; '
                    'remove one first'
                )
            if (
                prompt.mask_image is not None
                and not masks.fit_mask(prompt.mask_image, self._runtime.spec.image_size).any()
            ):
                raise PromptError('the mask covers less than a pixel of the network input')
        return list(assigned.values())
