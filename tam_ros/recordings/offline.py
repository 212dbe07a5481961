# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracks a recording from the first frame to the last, like a live stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tam_ros.io.frames import Frame, FrameSource
from tam_ros.io.mask_files import MAX_INDEX, read_masks
from tam_ros.prompting.prompt_text import MAX_DIGITS, PromptSpec, PromptSpecError
from tam_ros.recordings.timeline import TimedFrame, timeline
from tam_ros.tracking import (
    ClipTracker,
    FrameError,
    FrameResult,
    Prompt,
    PromptError,
    Tracker,
    TrackerOptions,
)
from tam_ros.tracking.prompts import check_begins

_TURNED = (
    'the sides are exchanged: frames are turned as their EXIF orientation or the header of the '
    'video says, and a mask must be turned in the same way'
)


class FramePrompt(NamedTuple):
    """A prompt for one frame of a recording.

    Attributes:
        frame: index of the frame, from 0.
        prompt: prompt for the tracker.
        text: the prompt as the user wrote it, for messages.
    """

    frame: int
    prompt: Prompt
    text: str


@dataclass(frozen=True)
class RecordedFrame:
    """A frame of a recording and its tracked objects.

    Attributes:
        index: index of the frame, from 0.
        source: the frame.
        tracked: the tracker's result.
    """

    index: int
    source: Frame
    tracked: FrameResult


Look = Callable[[TimedFrame, FrameResult], list[Prompt]]


def written_prompt(spec: PromptSpec) -> FramePrompt:
    """Convert a prompt of the command line.

    Raises:
        PromptError: the prompt cannot be used.
    """
    if spec.box is not None:
        prompt = Prompt.box(spec.object_id, spec.box)
    else:
        prompt = Prompt.points(spec.object_id, spec.points, spec.labels)
    return FramePrompt(spec.frame, prompt, str(spec))


def mask_prompts(
    path: str | Path, frame: int, threshold: int | None = None, limit: int = MAX_INDEX
) -> list[FramePrompt]:
    """Return a prompt for each object in a mask file.

    Args:
        path: the file.
        frame: the frame that it is for, from 0.
        threshold: see `tam_ros.io.mask_files.read_masks`.
        limit: see there.

    Raises:
        MaskFileError: the file cannot be used.
    """
    return [
        FramePrompt(frame, Prompt.mask(number, mask), f'object {number} of {path}')
        for number, mask in read_masks(path, threshold, limit).items()
    ]


def split_frame(text: str) -> tuple[str, int]:
    """Split `FILE@FRAME`, where `@FRAME` may be missing; the file's name may contain another @.

    Raises:
        PromptSpecError: the frame is not a whole number.
    """
    file, at, frame = text.rpartition('@')
    if not at or Path(text).exists():
        return text, 0
    if not (frame.isascii() and frame.isdigit() and len(frame) <= MAX_DIGITS):
        raise PromptSpecError(f'{text!r}: the frame after @ must be a whole number from 0')
    return file, int(frame)


def options_for(prompts: Iterable[FramePrompt], hide_below: float = 0.0) -> TrackerOptions:
    """Return options with room for all prompted objects."""
    objects = {item.prompt.object_id for item in prompts}
    most = max(TrackerOptions().max_objects, len(objects))
    return TrackerOptions(max_objects=most, hide_below=hide_below)


def check(
    tracker: Tracker | ClipTracker, source: FrameSource, prompts: Iterable[FramePrompt]
) -> None:
    """Read the first frame and check the prompts, before any output is created.

    Raises:
        SourceError: the recording cannot be read.
        PromptSpecError: a prompt is for a frame after the end.
        PromptError: the tracker would refuse a prompt, for example one outside the image.
    """
    height, width = next(iter(source)).rgb.shape[:2]
    firsts: dict[int, list[FramePrompt]] = {}  # the prompts of each object on its first frame
    for item in sorted(prompts, key=lambda item: item.frame):
        if source.count is not None and item.frame >= source.count:
            # The header of a video may be wrong about it.
            count = source.count_frames()
            if item.frame >= count:
                raise PromptSpecError(
                    f'the prompt {item.text!r} is for frame {item.frame}, but the frames are 0 to '
                    f'{count - 1}'
                )
        try:
            tracker.check(item.prompt, (height, width))
        except PromptError as error:
            mask = item.prompt.mask_image
            turned = mask is not None and mask.shape == (width, height)
            raise PromptError(
                f'the prompt {item.text!r} cannot be used: {error}'
                + (f'; {_TURNED}' if turned else '')
            ) from error
        first = firsts.setdefault(item.prompt.object_id, [])
        if not first or item.frame == first[0].frame:
            first.append(item)
    for object_id, begin in firsts.items():
        if object_id not in tracker.objects:
            check_begins([item.prompt for item in begin], object_id)


def track(
    tracker: Tracker,
    source: FrameSource,
    prompts: Iterable[FramePrompt],
    look: Look = lambda timed, result: [],
) -> Iterator[RecordedFrame]:
    """Track every frame and yield the results one by one.

    Time is that of `timeline`. A prompt for a frame that is skipped is applied to the next one.

    Args:
        tracker: without objects, or with those of an earlier recording.
        source: the recording.
        prompts: each is applied on its frame; several on one frame in the given order.
        look: called with each frame when it has been tracked, and the result; returns prompts that
            were made on that frame.

    Raises:
        SourceError: the recording is damaged; raised after the results of the frames before.
        PromptError, FrameError: the tracker refuses a prompt or an image.
        PromptSpecError: the recording ended before the frame of a prompt.
    """
    waiting = sorted(prompts, key=lambda item: item.frame)
    late: list[Prompt] = []
    count = 0
    for timed in timeline(source):
        index, frame = timed.index, timed.frame
        count = index + 1
        due = [item.prompt for item in waiting if item.frame <= index]
        del waiting[: len(due)]
        if timed.restarted:
            tracker.restart_clock()
            late = []  # their frame is forgotten
        try:
            tracked = tracker.step(frame.rgb, frame.stamp, [*late, *due])
        except (FrameError, PromptError) as error:
            raise type(error)(f'frame {index}: {error}') from error
        late = look(timed, tracked)
        yield RecordedFrame(index, frame, tracked)
    check_applied(waiting, count)


def check_applied(waiting: Iterable[FramePrompt], count: int) -> None:
    """Raise PromptSpecError if prompts were left at the end of a recording of `count` frames."""
    for item in waiting:
        raise PromptSpecError(
            f'the prompt {item.text!r} is for frame {item.frame}, but the recording ended after '
            f'{count} frames'
        )
