# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The model applied to one encoded frame, for any set of objects: the only way masks are made.

Live tracking, bringing a late prompt forward and going through a recording in any order differ in
which frame and which objects they name; what happens then is the same and is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import BankRows, Features, Floats, Handle, Runtime
from tam_ros.tracking.bank import BankShape, MemoryBank
from tam_ros.tracking.decoding import Decision, Decoder, as_decisions
from tam_ros.tracking.images import to_network
from tam_ros.tracking.objects import ObjectMemory
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import Prompt

Plan = dict[int, list[Prompt]]
"""The prompts of one frame by object, in the order they were made."""


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


@dataclass(frozen=True, eq=False)
class Moment:
    """An image and when it is.

    Attributes:
        index: of the image in the stream or the recording.
        seconds: on the tracker's own clock, which never goes back.
        size: (height, width) of the image.
        small: the network input made of it, uint8 [R, R, 3]; None where no model will see it.
        time: of the objects on it, see `bank.Entry`; None: one later than their newest entry.
        reverse: the images that lie ahead are known, not those that lie behind.
    """

    index: int
    seconds: float
    size: tuple[int, int]
    small: NDArray[np.uint8] | None
    time: int | None = None
    reverse: bool = False


class Outcome(NamedTuple):
    """What `Stages.advance` found.

    Attributes:
        decisions: of each object, in no particular order.
        begun: the objects that did not exist before.
    """

    decisions: dict[int, Decision]
    begun: list[ObjectMemory]


class _Sighting(NamedTuple):
    number: int
    memory: ObjectMemory | None
    bank: MemoryBank
    conditioning: bool


class Stages:
    """Runs the functions of a model in the order a frame needs them."""

    def __init__(
        self, runtime: Runtime, options: TrackerOptions, rows: int, shape: BankShape, images: int
    ) -> None:
        """Allocate the storage.

        Args:
            runtime: with the model loaded.
            options: of the tracker.
            rows: objects whose memories are kept at once.
            shape: of the bank of each.
            images: encoded images that are kept at once, the present one among them.
        """
        self.shape = shape
        self.clock = StageClock()
        self._runtime = runtime
        self.options = options
        self._decoder = Decoder(runtime)
        runtime.allocate(rows, shape.memory_slots, shape.pointer_slots, images)

    def shrink(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring an image uint8 [H, W, 3] to the network input [R, R, 3]."""
        with self.clock.stage('resize'):
            return to_network(image, self._runtime.spec.image_size, self.options.resize)

    def encode(self, small: NDArray[np.uint8]) -> Features:
        """Encode a network input."""
        with self.clock.stage('image_encoder'):
            return self._runtime.image_encoder(small)

    def advance(
        self,
        moment: Moment,
        features: Features,
        objects: list[ObjectMemory],
        plan: Plan,
        new_row: Callable[[], int],
    ) -> Outcome:
        """Track objects into a frame, apply its prompts, and remember the frame.

        Their banks change last: a device that fails before loses nothing.

        Args:
            moment: of the frame.
            features: of the frame.
            objects: that are known on it.
            plan: prompts; those for objects that are not known begin one.
            new_row: called for a row of the storage for each object that begins.
        """
        decisions = self.decide(moment, features, objects, plan)
        return self.remember(moment, features, objects, plan, decisions, new_row)

    def decide(
        self,
        moment: Moment,
        features: Features,
        objects: list[ObjectMemory],
        plan: Plan,
        found: Mapping[int, Decision] | None = None,
    ) -> dict[int, Decision]:
        """Say where every object is, changing nothing; arguments as for `advance`.

        `found` holds what prompts refine, where that is not what tracking says of the frame.
        """
        tracked = [
            memory for memory in objects if memory.id not in plan or not plan[memory.id][0].replace
        ]
        conditioned: Handle = None
        decisions: dict[int, Decision] = {}
        ids = [memory.id for memory in tracked]
        if tracked:
            with self.clock.stage('memory_attention'):
                conditioned = self._runtime.memory_attention(
                    features, self._banks(tracked, moment)
                )
            with self.clock.stage('mask_decoder'):
                chosen = self._decoder.track(features, conditioned, len(tracked))
            decisions = dict(zip(ids, as_decisions(chosen), strict=True))
        with self.clock.stage('prompts'):
            for number, own in plan.items():
                previous = decisions.get(number)
                source = (
                    features.without_memory
                    if previous is None
                    else self._runtime.select_object(conditioned, ids.index(number))
                )
                if found:
                    previous = found.get(number, previous)
                decisions[number] = self._decoder.prompt(
                    own, features, source, previous, moment.size
                )
        return decisions

    def remember(
        self,
        moment: Moment,
        features: Features,
        objects: list[ObjectMemory],
        plan: Plan,
        decisions: dict[int, Decision],
        new_row: Callable[[], int],
        conditioning: bool | None = None,
    ) -> Outcome:
        """Encode and store the memory of a frame; arguments as for `advance`.

        `conditioning` says what a prompted frame is to an object that is known already; None:
        what `TrackerOptions.refined_frames_condition` says.
        """
        if conditioning is None:
            conditioning = self.options.refined_frames_condition
        known = {memory.id: memory for memory in objects}
        sightings = [
            self._sighting(number, known.get(number), plan, conditioning)
            for number in decisions
            if number in plan or self._leaves_memory(decisions[number])
        ]
        begun: list[ObjectMemory] = []
        if sightings:
            with self.clock.stage('memory_encoder'):
                begun = self._store(moment, features, sightings, plan, decisions, new_row)
        for memory in (*objects, *begun):
            if decisions[memory.id].present:
                memory.seen_at = moment.seconds
        return Outcome(decisions, begun)

    def read_row(self, row: int) -> tuple[Floats, Floats]:
        """Return the memories [slots, N, memory_dim] and pointers [slots, C] of a row."""
        return self._runtime.read_row(row)

    def write_row(self, row: int, memories: Floats, pointers: Floats) -> None:
        """Overwrite a row with what `read_row` returned."""
        self._runtime.write_row(row, memories, pointers)

    def _banks(self, tracked: list[ObjectMemory], moment: Moment) -> BankRows:
        views = [memory.bank.view(moment.time, moment.reverse) for memory in tracked]
        return BankRows(
            np.array([memory.row for memory in tracked]),
            *(np.stack(column) for column in zip(*views, strict=True)),
        )

    def _leaves_memory(self, decision: Decision) -> bool:
        return decision.present or not self.options.skip_occluded_memories

    def _sighting(
        self, number: int, memory: ObjectMemory | None, plan: Plan, conditioning: bool
    ) -> _Sighting:
        """Decide what a frame is to the bank of an object."""
        if memory is None or (number in plan and plan[number][0].replace):
            return _Sighting(number, memory, MemoryBank(self.shape), conditioning=True)
        return _Sighting(number, memory, memory.bank, conditioning and number in plan)

    def _store(
        self,
        moment: Moment,
        features: Features,
        sightings: list[_Sighting],
        plan: Plan,
        decisions: dict[int, Decision],
        new_row: Callable[[], int],
    ) -> list[ObjectMemory]:
        prompted = np.array([one.number in plan for one in sightings], np.float32)
        logits = np.stack([decisions[one.number].logits for one in sightings])
        pointers = np.stack([decisions[one.number].pointer for one in sightings])
        encoded = self._runtime.memory_encoder(features, logits, prompted)
        rows = [new_row() if one.memory is None else one.memory.row for one in sightings]
        slots = [one.bank.slots_for(moment.index, one.conditioning) for one in sightings]
        memory_slots, pointer_slots = (list(column) for column in zip(*slots, strict=True))
        self._runtime.store(rows, memory_slots, pointer_slots, encoded, pointers)

        begun = []
        for row, one in zip(rows, sightings, strict=True):
            one.bank.add(moment.index, one.conditioning, moment.time)
            if one.memory is None:
                begun.append(
                    ObjectMemory(
                        one.number,
                        row,
                        one.bank,
                        born_index=moment.index,
                        born_at=moment.seconds,
                        seen_at=moment.seconds,
                    )
                )
            else:
                one.memory.bank = one.bank
        return begun
