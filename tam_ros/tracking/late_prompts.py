# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recent images and the prompts that come late for them.

A click reaches the tracker some images after the one it was made on. The recent images are kept,
encoded, with the prompts each had. A late prompt joins those of its image, and the object is
replayed from there: a new one from nothing, a live one as a copy with the bank it had then, while
the original goes on being shown. When the replay has reached the present it takes the object's
place. All objects that are late share one front, which moves by a bounded number of images a step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tam_ros.runtime.base import Features
from tam_ros.tracking.frame_pipeline import Moment, Plan, Stages
from tam_ros.tracking.objects import ObjectMemory, ObjectTable
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import Prompt, PromptError

SPARE_ROWS = 4
"""Live objects that can be replayed at once: each needs a second row of the storage."""

SAME_STAMP = 5e-7  # seconds; stamps that went through double precision


@dataclass(eq=False)
class PastFrame:
    """An image that was tracked.

    Attributes:
        moment: of the image.
        stamp: of the image, seconds; None since the clock was restarted.
        plan: every prompt that was made on it.
        features: once it is encoded; images without objects are encoded when they are needed.
    """

    moment: Moment
    stamp: float | None
    plan: Plan = field(default_factory=dict)
    features: Features | None = None


@dataclass(eq=False)
class LateObject:
    """An object on its way to the present.

    Attributes:
        row: its row of the storage, not the one of a live object with the same id.
        next_index: of the image it will be tracked into next.
        memory: None while it is to begin on that image.
    """

    row: int
    next_index: int
    memory: ObjectMemory | None


class Recall:
    """The recent images of a tracker and its late objects."""

    def __init__(self, stages: Stages, options: TrackerOptions, table: ObjectTable) -> None:
        self.late: dict[int, LateObject] = {}
        self._stages = stages
        self.options = options
        self._table = table
        self._frames: deque[PastFrame] = deque()

    def forget_stamps(self) -> None:
        """The stamps of the images kept mean nothing any more; late objects go on."""
        for frame in self._frames:
            frame.stamp = None

    def find(self, stamp: float, here: PastFrame) -> PastFrame:
        """Return the image nearest to a stamp; the right one may have been dropped by a queue.

        Args:
            stamp: of the image a prompt was made on.
            here: the present image, a stamp of infinity standing for one that is not known yet.

        Raises:
            PromptError: the image is older than what is kept, or still to come.
        """
        assert here.stamp is not None
        if stamp > here.stamp + SAME_STAMP:
            raise PromptError(
                f'the prompt was made on an image {stamp - here.stamp:.3f} s after this one'
            )
        kept = [frame for frame in (*self._frames, here) if frame.stamp is not None]
        if stamp < kept[0].stamp - SAME_STAMP:
            if len(kept) == 1:
                hint = (
                    ''
                    if self.options.prompt_history_seconds
                    else '; set prompt_history_seconds to keep some'
                )
                raise PromptError(
                    f'the prompt was made on an earlier image, and none is kept{hint}'
                )
            newest, oldest = kept[-2].stamp, kept[0].stamp
            raise PromptError(
                f'the prompt was made on an image {newest - stamp:.3f} s before the last one; the '
                f'oldest that is kept is {newest - oldest:.3f} s before it. Prompt a newer image, '
                'or raise prompt_history_seconds'
            )
        if (
            kept[-1] is here
            and len(kept) > 1
            and stamp > kept[-2].stamp + SAME_STAMP
            and here.stamp == np.inf
        ):
            return here
        return min(kept, key=lambda frame: abs(frame.stamp - stamp))

    def check(self, frame: PastFrame, number: int, others: set[int]) -> None:
        """Raise PromptError where an object that exists cannot be replayed from an image.

        Args:
            frame: where its prompt belongs.
            number: of the object.
            others: objects that are about to be replayed as well.
        """
        late, live = self.late.get(number), self._table.live.get(number)
        memory = live if late is None else late.memory
        index = frame.moment.index
        if memory is None:
            assert late is not None
            begins = late.next_index
        else:
            begins = memory.born_index
            if index > begins and not any(
                entry and entry.conditioning and entry.frame < index
                for entry in memory.bank.memories
            ):
                begins = index + 1  # it was begun anew after that image
        if index < begins:
            raise PromptError(
                f'object {number} did not exist yet on the image the prompt was '
                'made on; use 0 for a new object'
            )
        copies = (self.late.keys() | others | {number}) & self._table.live.keys()
        if late is None and len(copies) > SPARE_ROWS:
            raise PromptError(
                f'{SPARE_ROWS} objects are being brought forward from past images '
                'already; send the prompt again in a moment'
            )

    def add(self, frame: PastFrame, number: int, prompts: list[Prompt]) -> None:
        """Let prompts, checked before, join those of a past image, and replay their object."""
        before = [] if prompts[0].replace else frame.plan.get(number, [])
        frame.plan[number] = [*before, *prompts]
        index = frame.moment.index
        late, live = self.late.get(number), self._table.live.get(number)
        if late is not None:
            if index < late.next_index:
                late.memory = self._rewound(late.memory, late.row, index)
                late.next_index = index
            return
        row = next(self._table.free_rows(one.row for one in self.late.values()))
        if live is not None and live.born_index < index:
            self._stages.write_row(row, *self._stages.read_row(live.row))
        self.late[number] = LateObject(row, index, self._rewound(live, row, index))
        self._table.used.add(number)

    def catch_up(self) -> list[ObjectMemory]:
        """Move the late objects towards the present by a bounded number of images.

        Returns:
            The objects that have reached it.
        """
        for _ in range(self.options.catch_up):
            if not self.late:
                break
            index = min(one.next_index for one in self.late.values())
            if index > self._frames[-1].moment.index:
                break
            self._replay(self._frames[index - self._frames[0].moment.index])
        present = self._frames[-1].moment.index + 1 if self._frames else 0
        arrived = [number for number, one in self.late.items() if one.next_index == present]
        return [memory for number in arrived if (memory := self.late.pop(number).memory)]

    def push(self, frame: PastFrame) -> None:
        """Keep an image, and let go those that are too old."""
        if not self.options.prompt_history_seconds:
            return
        self._frames.append(frame)
        front = min((one.next_index for one in self.late.values()), default=frame.moment.index)
        now = frame.moment.seconds
        while self._frames[0].moment.index < front and (
            len(self._frames) > self.options.prompt_history_frames
            or now - self._frames[0].moment.seconds > self.options.prompt_history_seconds
        ):
            self._frames.popleft()

    def forget(self, number: int) -> None:
        """Drop an object; nobody asks for its prompts again, since ids do not come back."""
        self.late.pop(number, None)

    def clear(self) -> None:
        """Drop all images. There must be no late object."""
        self._frames.clear()

    @staticmethod
    def _rewound(memory: ObjectMemory | None, row: int, index: int) -> ObjectMemory | None:
        """Return what was known of an object before an image; None if it begins there."""
        if memory is None or memory.born_index >= index:
            return None
        return ObjectMemory(
            memory.id,
            row,
            memory.bank.until(index),
            memory.born_index,
            memory.born_at,
            memory.seen_at,
        )

    def _replay(self, frame: PastFrame) -> None:
        moment = frame.moment
        if frame.features is None:
            assert moment.small is not None
            frame.features = self._stages.encode(moment.small)
        group = {
            number: one for number, one in self.late.items() if one.next_index == moment.index
        }
        plan = {number: frame.plan[number] for number in group if number in frame.plan}
        fresh = iter(
            [one.row for number, one in group.items() if number in plan and one.memory is None]
        )
        # Objects begin in the order of the plan, which is that of the group.
        outcome = self._stages.advance(
            moment,
            frame.features,
            [one.memory for one in group.values() if one.memory],
            plan,
            lambda: next(fresh),
        )
        begun = {memory.id: memory for memory in outcome.begun}
        for number, one in group.items():
            one.memory = begun.get(number, one.memory)
            one.next_index += 1
