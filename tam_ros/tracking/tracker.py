"""The tracker: one verb, ``step``, takes an image and prompts and returns masks.

Its rules are those of the official SAM 2 style video predictor run forward in time, with a bank
that never grows. All objects share one encoder pass; the rest runs in batches of objects.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime import Runtime, open_runtime
from tam_ros.runtime.base import BankRows, Features, Floats, Handle
from tam_ros.tracking import masks
from tam_ros.tracking.bank import MemoryBank
from tam_ros.tracking.decoding import Decision, Decoder, as_decisions
from tam_ros.tracking.images import FrameError, check_image, to_network
from tam_ros.tracking.objects import ObjectMemory, ObjectState, ObjectTable, TrackedObject
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import NEW_OBJECT, Prompt, PromptError


@dataclass(frozen=True, eq=False)
class Frame:
    """What the tracker says of one image.

    Attributes:
        stamp: of the image, seconds.
        index: steps since the start or the last reset, from 0.
        labels: uint16 [H, W]; 0 is background, else an object id. Where masks overlap, the
            larger logit wins.
        objects: all live objects, in order of their ids.
        stage_seconds: time spent in each stage of the step.
    """

    stamp: float
    index: int
    labels: NDArray[np.uint16]
    objects: list[TrackedObject]
    stage_seconds: dict[str, float]


class BankEntry(NamedTuple):
    """What a frame is to one object.

    Attributes:
        memory: of the object; None if it begins.
        bank: to enter the frame into; a new one for an object that begins or begins anew.
        conditioning: whether it is a conditioning frame.
    """

    memory: ObjectMemory | None
    bank: MemoryBank
    conditioning: bool


class Tracker:
    """Tracks prompted objects through a stream of images; used from one thread."""

    def __init__(self, runtime: Runtime, options: TrackerOptions | None = None) -> None:
        """Wrap a runtime, which the tracker owns from then on; see ``open``."""
        self._options = options or TrackerOptions()
        self._runtime = runtime
        self._runtime.allocate(self._options.max_objects)
        self._decoder = Decoder(runtime)
        self.reset()

    @classmethod
    def open(cls, model: str, weights: str | Path | None = None, runtime: str = 'onnxruntime',
             *, threads: int | None = None, options: TrackerOptions | None = None) -> Tracker:
        """Load a model and make a tracker of it.

        Args:
            model: catalogue name, for instance ``efficienttam_ti_512x512``.
            weights: a checkpoint, a folder of exported graphs, ``'untrained'``, or None for
                what is bundled or downloaded.
            runtime: ``onnxruntime`` or ``torch``.
            threads: CPU threads; None leaves it to the library.
            options: see ``TrackerOptions``.

        Raises:
            tam_ros.catalogue.UnknownModelError: no such model.
            tam_ros.runtime.WeightsError: weights missing, damaged or of another model.
        """
        return cls(open_runtime(model, weights, runtime, threads), options)

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
        """What the weights are, for people; starts with ``untrained`` if they are."""
        return self._runtime.spec.weights

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the live objects, ascending."""
        return tuple(sorted(self._table.live))

    def new_id(self) -> int:
        """Return an id that was never used since the start or the last reset."""
        return self._table.new_id()

    def reset(self) -> None:
        """Forget all objects, the ids used, the time and the image size."""
        self._table = ObjectTable(self._options.max_objects)
        self._index = 0
        self._stamp: float | None = None
        self._size: tuple[int, int] | None = None

    def restart_clock(self) -> None:
        """Accept an earlier stamp next, keeping the objects: a bag that loops, a new time source.

        The ages of the objects go on from where they are.
        """
        self._stamp = None

    def remove(self, object_id: int) -> None:
        """Forget an object; its id is not used again. PromptError if there is none."""
        if object_id not in self._table.live:
            raise PromptError(f'there is no object {object_id} to remove')
        del self._table.live[object_id]

    def close(self) -> None:
        """Give back what the runtime holds on a device; the tracker is unusable then."""
        self._runtime.close()

    def check(self, prompt: Prompt, size: tuple[int, int]) -> None:
        """Raise PromptError where ``step`` would refuse the prompt.

        Args:
            prompt: to check.
            size: (height, width) of the image it is meant for, pixels.
        """
        self._plan([prompt], size)

    def step(self, image: NDArray[np.uint8], stamp: float,
             prompts: Sequence[Prompt] = ()) -> Frame:
        """Track all objects into the next image.

        Several prompts for one object are applied in order, the clicks adding up. An object
        that is not live yet begins on this frame; a live one is first tracked, then refined.

        Args:
            image: uint8 RGB [H, W, 3].
            stamp: of the image, seconds; later than the one before.
            prompts: made on this image.

        Raises:
            FrameError: the image or its stamp cannot be used.
            PromptError: a prompt cannot be used. In both cases nothing has changed.
        """
        clock = StageClock()
        size, elapsed = self._check_frame(image, stamp)
        plan = self._plan(prompts, size)
        decisions = self._decide(image, size, plan, elapsed, clock) \
            if plan or self._table.live else {}
        with clock.stage('masks'):
            frame = self._describe(stamp, size, decisions, elapsed, clock.seconds)
        self._index += 1
        self._stamp, self._size = stamp, size
        return frame

    def _decide(self, image: NDArray[np.uint8], size: tuple[int, int],
                plan: dict[int, list[Prompt]], elapsed: float, clock: StageClock
                ) -> dict[int, Decision]:
        """Run the model on a frame, for every object that lives or begins, and remember it."""
        with clock.stage('resize'):
            small = to_network(image, self._runtime.spec.image_size, self._options.resize)
        with clock.stage('image_encoder'):
            features = self._runtime.image_encoder(small)

        tracked = [memory for number, memory in sorted(self._table.live.items())
                   if number not in plan or not plan[number][0].replace]
        conditioned: Handle = None
        decisions: dict[int, Decision] = {}
        if tracked:
            with clock.stage('memory_attention'):
                conditioned = self._runtime.memory_attention(features, self._banks(tracked))
            with clock.stage('mask_decoder'):
                chosen = self._decoder.track(conditioned, len(tracked))
            ids = [memory.id for memory in tracked]
            decisions = dict(zip(ids, as_decisions(chosen), strict=True))
        with clock.stage('prompts'):
            for number, own in plan.items():
                previous = decisions.get(number)
                source = features.without_memory if previous is None else \
                    self._runtime.take(conditioned, ids.index(number))
                decisions[number] = self._decoder.prompt(own, features, source, previous, size)
        with clock.stage('memory_encoder'):
            self._remember(features, decisions, plan, elapsed)
        return decisions

    def _check_frame(self, image: NDArray[np.uint8], stamp: float
                     ) -> tuple[tuple[int, int], float]:
        check_image(image)
        size = image.shape[:2]
        if self._table.live and self._size is not None and size != self._size:
            raise FrameError(
                f'the image is {size[1]}x{size[0]} but the objects live on images of '
                f'{self._size[1]}x{self._size[0]}; reset the tracker to change the size')
        if not np.isfinite(stamp):
            raise FrameError(f'the stamp {stamp} is not finite')
        if self._stamp is None:
            return size, 0.0
        if stamp == self._stamp:
            raise FrameError(f'time stands still at {stamp:.6f} s: this image was tracked already')
        if stamp < self._stamp:
            raise FrameError(
                f'time went back by {self._stamp - stamp:.6f} s; restart the clock or reset the '
                'tracker if this is meant')
        return size, stamp - self._stamp

    def _plan(self, prompts: Sequence[Prompt], size: tuple[int, int]) -> dict[int, list[Prompt]]:
        """Check prompts and sort them by object, with ids for new objects chosen."""
        plan: dict[int, list[Prompt]] = {}
        live = self._table.live
        limit = self._runtime.spec.point_tokens - 1
        for prompt in prompts:
            prompt.check_image(*size)
            number = prompt.object_id
            if number == NEW_OBJECT:
                number = self._table.new_id({*plan, *(p.object_id for p in prompts)})
            elif number in self._table.used and number not in live:
                raise PromptError(f'object {number} was removed and ids are not used again; '
                                  'use 0 or a new id')
            own = plan.setdefault(number, [])
            if prompt.replace:
                own.clear()
            own.append(prompt)
            tokens = sum(len(one.points_xy) for one in own)
            if tokens > limit:
                raise PromptError(f'{tokens} points for object {number} on one image; the limit '
                                  f'is {limit}, a box counting as two')
            if len(live.keys() | plan.keys()) > self._options.max_objects:
                raise PromptError(f'the limit of {self._options.max_objects} objects is reached; '
                                  'remove one first')
            if prompt.mask_image is not None and not masks.fit_mask(
                    prompt.mask_image, self._runtime.spec.image_size).any():
                raise PromptError('the mask covers less than a pixel of the network input')
        return plan

    def _banks(self, tracked: list[ObjectMemory]) -> BankRows:
        views = [memory.bank.view(self._index) for memory in tracked]
        return BankRows([memory.row for memory in tracked],
                        *(np.stack(column) for column in zip(*views, strict=True)))

    def _remember(self, features: Features, decisions: dict[int, Decision],
                  plan: dict[int, list[Prompt]], elapsed: float) -> None:
        """Encode and store the memory of this frame for every object.

        What the tracker knows changes last: a device that fails before loses no object.
        """
        prompted = np.array([number in plan for number in decisions], np.float32)
        logits = np.stack([decision.logits for decision in decisions.values()])
        encoded = self._runtime.memory_encoder(features, logits, prompted)

        entries = [self._entry(number, plan) for number in decisions]
        free = self._table.free_rows()
        rows = [next(free) if entry.memory is None else entry.memory.row for entry in entries]
        slots = [entry.bank.slots_for(self._index, entry.conditioning) for entry in entries]
        memory_slots, pointer_slots = (list(column) for column in zip(*slots, strict=True))
        pointers: Floats = np.stack([decision.pointer for decision in decisions.values()])
        self._runtime.store(rows, memory_slots, pointer_slots, encoded, pointers)

        for number, row, entry in zip(decisions, rows, entries, strict=True):
            entry.bank.add(self._index, entry.conditioning)
            if entry.memory is None:
                self._table.enter(ObjectMemory(number, row, entry.bank))
            else:
                entry.memory.bank = entry.bank
                entry.memory.pass_time(elapsed)

    def _entry(self, number: int, plan: dict[int, list[Prompt]]) -> BankEntry:
        """Decide what this frame is to the bank of an object."""
        memory = self._table.live.get(number)
        if memory is None or (number in plan and plan[number][0].replace):
            return BankEntry(memory, self._new_bank(), conditioning=True)
        refined = number in plan and self._options.refined_frames_condition
        return BankEntry(memory, memory.bank, conditioning=refined)

    def _new_bank(self) -> MemoryBank:
        spec = self._runtime.spec
        return MemoryBank(spec.slots, spec.pointer_slots, self._options.max_conditioning)

    def _describe(self, stamp: float, size: tuple[int, int], decisions: dict[int, Decision],
                  elapsed: float, stage_seconds: dict[str, float]) -> Frame:
        ids = sorted(decisions)
        full = [masks.enlarge(decisions[number].logits, *size) for number in ids]
        objects = [
            self._describe_object(self._table.live[number], decisions[number], logits, elapsed)
            for number, logits in zip(ids, full, strict=True)]
        return Frame(stamp, self._index, masks.label_image(ids, full, *size), objects,
                     stage_seconds)

    def _describe_object(self, memory: ObjectMemory, decision: Decision, full: Floats,
                         elapsed: float) -> TrackedObject:
        mask = full > 0
        area = int(np.count_nonzero(mask))
        seen = decision.score > 0 and area > 0
        memory.unseen_seconds = 0.0 if seen else memory.unseen_seconds + elapsed
        state = ObjectState.VISIBLE
        if not seen:
            lost = memory.unseen_seconds > self._options.lost_after
            state = ObjectState.LOST if lost else ObjectState.OCCLUDED
        return TrackedObject(
            id=memory.id, state=state, score=float(1 / (1 + np.exp(-decision.score))),
            score_logit=float(decision.score), mask=mask, logits=decision.logits,
            box=masks.bounding_box(mask), centroid=masks.centroid(mask), area=area,
            age_frames=memory.age_frames, age_seconds=memory.age_seconds)


class StageClock:
    """Adds up the time of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
