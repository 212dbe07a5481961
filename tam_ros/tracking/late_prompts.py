# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Late prompts: prompts that arrive some images after the image they were made on.

The tracker keeps its recent images, encoded, with the prompts made on each of them. A late prompt
is added to those of its image, and its object is replayed from there on: a new object from its
first image, a live object as a copy with the memory bank that it had then. While it is replayed, a
new object is not shown and a live one is tracked as before. Once the replay has reached the
current image, the replayed object replaces the live one. All late objects are replayed together,
by a limited number of images per step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tam_ros.runtime.base import Features
from tam_ros.tracking.frame_pipeline import FrameContext, FramePipeline, FramePrompts
from tam_ros.tracking.objects import ObjectMemory, ObjectTable
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import Prompt, PromptError

SPARE_ROWS = 4
"""Live objects that can be replayed at once: each needs a second row of the storage."""

SAME_STAMP = 5e-7  # seconds; stamps differ by this after rounding to double precision


@dataclass(eq=False)
class StreamFrame:
    """One image of a stream: the current one, or a recent one that is kept for late prompts.

    Attributes:
        context: context of the image.
        stamp: stamp of the image, seconds; None if the clock was restarted after it.
        prompts: all prompts made on it, early or late.
        features: features of the image encoder. None until they are needed: an image without
            objects is not encoded.
    """

    context: FrameContext
    stamp: float | None
    prompts: FramePrompts = field(default_factory=dict)
    features: Features | None = None


@dataclass(eq=False)
class LateObject:
    """An object that is being replayed.

    Attributes:
        row: its row of the storage, different from that of the live object with the same id.
        next_index: index of the image that is replayed next.
        memory: memory of the object; None if it begins on that image.
    """

    row: int
    next_index: int
    memory: ObjectMemory | None


class LatePrompts:
    """The recent images of a tracker, and the objects that are being replayed.

    Attributes:
        objects: objects that are being replayed, by id.
        options: options of the tracker.
    """

    def __init__(
        self, pipeline: FramePipeline, options: TrackerOptions, table: ObjectTable
    ) -> None:
        self.objects: dict[int, LateObject] = {}
        self.options = options
        self._pipeline = pipeline
        self._table = table
        self._frames: deque[StreamFrame] = deque()

    def forget_stamps(self) -> None:
        """Accept no prompts by stamp for the images kept so far; replays continue."""
        for frame in self._frames:
            frame.stamp = None

    def find_frame(self, stamp: float, current: StreamFrame) -> StreamFrame:
        """Return the image nearest to a stamp, since that exact image may never have arrived.

        Args:
            stamp: stamp of the image a prompt was made on, seconds.
            current: the current image. Its stamp is infinite if it has not arrived yet.

        Raises:
            PromptError: the image is older than those kept, or newer than the current one.
        """
        assert current.stamp is not None
        if stamp > current.stamp + SAME_STAMP:
            raise PromptError(
                f'the prompt was made on an image {stamp - current.stamp:.3f} s after this one'
            )
        stamps = [
            (frame.stamp, frame) for frame in (*self._frames, current) if frame.stamp is not None
        ]
        oldest = stamps[0][0]
        previous = stamps[-2][0] if len(stamps) > 1 else None
        if stamp < oldest - SAME_STAMP:
            if previous is None:
                hint = (
                    ''
                    if self.options.prompt_history_seconds
                    else '; set prompt_history_seconds to keep some'
                )
                raise PromptError(
                    f'the prompt was made on an earlier image, and none is kept{hint}'
                )
            raise PromptError(
                f'the prompt was made on an image {previous - stamp:.3f} s before the last one; '
                f'the oldest that is kept is {previous - oldest:.3f} s before it. Prompt a newer '
                'image, or raise prompt_history_seconds'
            )
        if current.stamp == np.inf and previous is not None and stamp > previous + SAME_STAMP:
            return current
        return min(stamps, key=lambda item: abs(item[0] - stamp))[1]

    def encoded(self, stamp: float | None) -> tuple[StreamFrame, Features]:
        """Return a kept image and its features; it is encoded now if that was not needed before.

        Args:
            stamp: seconds; the kept image nearest to it is returned. None: the newest one.

        Raises:
            PromptError: no image is kept, or none that is so old or so new.
        """
        if not self._frames:
            hint = (
                'no image has been tracked yet'
                if self.options.prompt_history_seconds
                else 'set prompt_history_seconds to keep some'
            )
            raise PromptError(f'no encoded image is kept: {hint}')
        frame = self._frames[-1]
        if stamp is not None:
            if frame.stamp is None:
                raise PromptError('the clock was restarted, and no image has been tracked since')
            if stamp > frame.stamp + SAME_STAMP:
                raise PromptError(
                    f'the prompt is for an image {stamp - frame.stamp:.3f} s after the last one '
                    'that was tracked; send it again when that is tracked, or with stamp 0'
                )
            frame = self.find_frame(stamp, frame)
        return frame, self._features(frame)

    def check(self, frame: StreamFrame, object_id: int, others: set[int]) -> None:
        """Raise PromptError if an existing object cannot be replayed from an image.

        Args:
            frame: the image of the prompt.
            object_id: id of the object.
            others: ids of objects that prompts of the same step replay as well.
        """
        late, live = self.objects.get(object_id), self._table.live.get(object_id)
        memory = live if late is None else late.memory
        index = frame.context.index
        if memory is None:
            assert late is not None
            first = late.next_index
        else:
            first = memory.born_index
            if index > first and not any(
                entry and entry.conditioning and entry.frame < index
                for entry in memory.bank.memories
            ):
                first = index + 1  # a prompt replaced the object after that image
        if index < first:
            raise PromptError(
                f'object {object_id} did not exist yet on the image the prompt was '
                'made on; use 0 for a new object'
            )
        copies = (self.objects.keys() | others | {object_id}) & self._table.live.keys()
        if late is None and len(copies) > SPARE_ROWS:
            raise PromptError(
                f'{SPARE_ROWS} objects are already being replayed from past images; send the '
                'prompt again in a moment'
            )

    def add(self, frame: StreamFrame, object_id: int, prompts: list[Prompt]) -> None:
        """Add checked prompts to those of a past image, and start the replay of their object."""
        before = [] if prompts[0].replace else frame.prompts.get(object_id, [])
        frame.prompts[object_id] = [*before, *prompts]
        index = frame.context.index
        late, live = self.objects.get(object_id), self._table.live.get(object_id)
        if late is not None:
            if index < late.next_index:
                late.memory = self._rewound(late.memory, late.row, index)
                late.next_index = index
            return
        row = next(self._table.free_rows(one.row for one in self.objects.values()))
        if live is not None and live.born_index < index:
            self._pipeline.write_row(row, *self._pipeline.read_row(live.row))
        self.objects[object_id] = LateObject(row, index, self._rewound(live, row, index))
        self._table.used.add(object_id)

    def catch_up(self) -> list[ObjectMemory]:
        """Replay at most `TrackerOptions.catch_up` images.

        Returns:
            The objects whose replay has reached the current image.
        """
        for _ in range(self.options.catch_up):
            if not self.objects:
                break
            index = min(one.next_index for one in self.objects.values())
            if index > self._frames[-1].context.index:
                break
            self._replay(self._frames[index - self._frames[0].context.index])
        current = self._frames[-1].context.index + 1 if self._frames else 0
        finished = [number for number, one in self.objects.items() if one.next_index == current]
        return [memory for number in finished if (memory := self.objects.pop(number).memory)]

    def keep(self, frame: StreamFrame) -> None:
        """Keep an image that was tracked, and drop those that are too old."""
        if not self.options.prompt_history_seconds:
            return
        self._frames.append(frame)
        index, now = frame.context.index, frame.context.seconds
        needed = min((one.next_index for one in self.objects.values()), default=index)
        while self._frames[0].context.index < needed and (
            len(self._frames) > self.options.prompt_history_frames
            or now - self._frames[0].context.seconds > self.options.prompt_history_seconds
        ):
            self._frames.popleft()

    def remove(self, object_id: int) -> None:
        """Stop the replay of an object that was removed, if there is one."""
        self.objects.pop(object_id, None)

    def clear(self) -> None:
        """Drop all images. No object may be replayed at this time."""
        self._frames.clear()

    @staticmethod
    def _rewound(memory: ObjectMemory | None, row: int, index: int) -> ObjectMemory | None:
        """Return a copy of an object as it was before an image; None if it begins there."""
        if memory is None or memory.born_index >= index:
            return None
        return ObjectMemory(
            memory.id,
            row,
            memory.bank.before(index),
            memory.born_index,
            memory.born_at,
            memory.seen_at,
            memory.confidences.before(index),
        )

    def _features(self, frame: StreamFrame) -> Features:
        """Return the features of a kept image."""
        if frame.features is None:
            assert frame.context.network_input is not None
            frame.features = self._pipeline.encode(frame.context.network_input)
        return frame.features

    def _replay(self, frame: StreamFrame) -> None:
        context = frame.context
        features = self._features(frame)
        replayed = {
            number: one for number, one in self.objects.items() if one.next_index == context.index
        }
        prompts = {number: frame.prompts[number] for number in replayed if number in frame.prompts}
        # New objects are created in the order of `prompts`, which is that of `replayed`.
        new_rows = iter(
            [
                one.row
                for number, one in replayed.items()
                if number in prompts and one.memory is None
            ]
        )
        outcome = self._pipeline.track(
            context,
            features,
            [one.memory for one in replayed.values() if one.memory],
            prompts,
            lambda: next(new_rows),
        )
        new_objects = {memory.id: memory for memory in outcome.new_objects}
        for number, one in replayed.items():
            one.memory = new_objects.get(number, one.memory)
            one.next_index += 1
