# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracks a recording in both directions from its prompts, which are all known beforehand.

An object is tracked forwards from its first prompt and backwards to the first frame, so that it
can be prompted where it is easy to see. The frames before that prompt are kept on disk until they
are tracked; the memory needed does not grow with the length of the recording.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tam_ros.io.frames import FrameSource
from tam_ros.prompting.prompt_text import PromptSpecError
from tam_ros.recordings.offline import FramePrompt, RecordedFrame
from tam_ros.tracking import ClipTracker, FrameError, Prompt, PromptError, TrackerOptions
from tam_ros.tracking.frame_result import merge
from tam_ros.tracking.options import MAX_CONDITIONING


class _DiskStore:
    """Stores objects by frame index in files of a temporary folder."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder, self._name = Path(folder), name

    def put(self, index: int, item: Any) -> None:
        with self._path(index).open('wb') as file:
            pickle.dump(item, file, protocol=pickle.HIGHEST_PROTOCOL)

    def pop(self, index: int) -> Any:
        path = self._path(index)
        with path.open('rb') as file:
            item = pickle.load(file)  # noqa: S301 - written by `put` into our own folder
        path.unlink()
        return item

    def _path(self, index: int) -> Path:
        return self._folder / f'{self._name}_{index}'


def conditioning_frames(prompts: Iterable[FramePrompt]) -> int:
    """Return the number of conditioning frames to keep: those of the object with most prompts.

    It is at least the default of `TrackerOptions`, and at most six, so that one of the seven
    memory slots of the graphs remains for a recent frame.
    """
    frames: dict[int, set[int]] = {}
    for item in prompts:
        frames.setdefault(item.prompt.object_id, set()).add(item.frame)
    most = max(map(len, frames.values()), default=0)
    return min(max(most, TrackerOptions().max_conditioning), MAX_CONDITIONING)


def track(
    tracker: ClipTracker, source: FrameSource, prompts: Iterable[FramePrompt]
) -> Iterator[RecordedFrame]:
    """Track every frame in both directions and yield the results in the order of the recording.

    Args:
        tracker: without objects.
        source: the recording; it is read twice.
        prompts: at least one; those of one object on one frame are applied together.

    Raises:
        SourceError: the recording is damaged; raised after the results of the frames before the
            damage, or before any result if the frame of a prompt cannot be read.
        PromptError, FrameError: the tracker refuses a prompt or an image.
        PromptSpecError: the recording ends before the frame of a prompt.
        OSError: the disk has no room for the uncompressed frames before the last object's first
            prompt.
    """
    by_frame: dict[int, list[Prompt]] = {}
    first_of: dict[int, int] = {}
    for item in prompts:
        by_frame.setdefault(item.frame, []).append(item.prompt)
        number = item.prompt.object_id
        first_of[number] = min(item.frame, first_of.get(number, item.frame))
    last = max(first_of.values())
    with tempfile.TemporaryDirectory(prefix='tam_') as folder:
        frames, backwards = _DiskStore(folder, 'frame'), _DiskStore(folder, 'result')
        count = 0
        for index, frame in enumerate(islice(source, max(by_frame) + 1)):
            count += 1
            if index in by_frame:
                with _naming_frame(index):
                    tracker.prompt(index, frame.rgb, by_frame[index], frame.stamp)
            if index < last:
                frames.put(index, frame)
        if count <= max(by_frame):
            raise PromptSpecError(
                f'a prompt is for frame {max(by_frame)}, but the recording ended '
                f'after {count} frames'
            )
        for index in range(last - 1, -1, -1):
            frame = frames.pop(index)
            later = {number for number, first in first_of.items() if first > index}
            with _naming_frame(index):
                tracked = tracker.step(
                    index, frame.rgb, reverse=True, only=later, stamp=frame.stamp
                )
            backwards.put(index, tracked)
        for index, frame in enumerate(source):
            begun = {number for number, first in first_of.items() if first <= index}
            with _naming_frame(index):
                tracked = tracker.step(index, frame.rgb, only=begun, stamp=frame.stamp)
            if index < last:
                tracked = merge([tracked, backwards.pop(index)])
            yield RecordedFrame(index, frame, replace(tracked, index=index))


@contextmanager
def _naming_frame(index: int) -> Iterator[None]:
    """Add the frame index to the message of an error of the tracker."""
    try:
        yield
    except (FrameError, PromptError) as error:
        raise type(error)(f'frame {index}: {error}') from error
