# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracks a recording from its first frame to its last, as a live stream would be tracked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tam_ros.io import frames as sources
from tam_ros.io.mask_files import read_masks
from tam_ros.prompting.prompt_text import PromptSpec, PromptSpecError
from tam_ros.tracking import FrameError, Prompt, PromptError, Tracker
from tam_ros.tracking import FrameResult as TrackedFrame

_log = logging.getLogger(__name__)


class FramePrompt(NamedTuple):
    """A prompt and the frame of the recording that it was made on."""

    frame: int  # index, from 0
    prompt: Prompt
    text: str  # as it was given, for messages


class Result(NamedTuple):
    """One frame of the recording and what the tracker says of it."""

    index: int  # in the recording, from 0
    source: sources.Frame
    tracked: TrackedFrame


def written_prompt(spec: PromptSpec) -> FramePrompt:
    """Return a prompt of the command line as the tracker takes it.

    Raises:
        PromptError: it means nothing.
    """
    if spec.box is not None:
        prompt = Prompt.box(spec.object_id, spec.box)
    else:
        prompt = Prompt.points(spec.object_id, spec.points, spec.labels)
    return FramePrompt(spec.frame, prompt, str(spec))


def mask_prompts(path: str | Path, frame: int) -> list[FramePrompt]:
    """Return a prompt for each object of a mask file, see `tam_ros.io.mask_files.read_masks`.

    Raises:
        MaskFileError: the file cannot be used.
    """
    return [
        FramePrompt(frame, Prompt.mask(number, mask), f'object {number} of {path}')
        for number, mask in read_masks(path).items()
    ]


def check(
    tracker: Tracker, source: sources.FrameSource, prompts: Iterable[FramePrompt]
) -> tuple[int, int]:
    """Look at the first frame and refuse what could not be tracked, before any output is made.

    Returns:
        (height, width) of the first frame.

    Raises:
        SourceError: the recording cannot be read.
        PromptSpecError: a prompt beyond the end.
        PromptError: a prompt that the tracker refuses, one outside the image among them.
    """
    size = next(iter(source)).rgb.shape[:2]
    for item in prompts:
        if source.count is not None and item.frame >= source.count:
            raise PromptSpecError(
                f'the prompt {item.text!r} names frame {item.frame}, but the frames are 0 to '
                f'{source.count - 1}'
            )
        try:
            tracker.check(item.prompt, size)
        except PromptError as error:
            raise PromptError(f'the prompt {item.text!r} cannot be used: {error}') from error
    return size


def track(
    tracker: Tracker, source: sources.FrameSource, prompts: Iterable[FramePrompt]
) -> Iterator[Result]:
    """Track every frame and give the results as they come.

    Frames whose stamp is not later than the one before are left out with a warning, as the node
    leaves them out. A prompt for such a frame is applied to the next one.

    Args:
        tracker: without objects.
        source: the recording.
        prompts: each is applied on the frame it names, those of one frame in the order given.

    Raises:
        SourceError: the recording is damaged; the frames before the damage have been given.
        PromptError, FrameError: the tracker refuses a prompt or an image.
        PromptSpecError: the recording ended before the frame that a prompt names.
    """
    waiting: dict[int, list[Prompt]] = {}
    for item in prompts:
        waiting.setdefault(item.frame, []).append(item.prompt)
    newest = None
    due: list[Prompt] = []
    count = 0
    for index, frame in enumerate(source):
        count += 1
        due += waiting.pop(index, [])
        if newest is not None and frame.stamp <= newest:
            _log.warning(
                'frame %d left out: its stamp %.6f s is not later than %.6f s',
                *(index, frame.stamp, newest),
            )
            continue
        newest = frame.stamp
        try:
            tracked = tracker.step(frame.rgb, frame.stamp, due)
        except (FrameError, PromptError) as error:
            raise type(error)(f'frame {index}: {error}') from error
        yield Result(index, frame, tracked)
        due = []
    if waiting:
        raise PromptSpecError(
            f'a prompt names frame {min(waiting)}, but the recording ended after {count} frames'
        )
