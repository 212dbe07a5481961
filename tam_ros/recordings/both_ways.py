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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from tam_ros.io.frames import FrameSource
from tam_ros.recordings import offline
from tam_ros.recordings.offline import FramePrompt, RecordedFrame, check_applied
from tam_ros.recordings.timeline import timeline
from tam_ros.tracking import ClipTracker, FrameError, PromptError, TrackerOptions
from tam_ros.tracking.frame_result import merge
from tam_ros.tracking.options import MAX_CONDITIONING


class TemporaryFilesError(OSError):
    """Frames cannot be kept on disk; the message gives the folder and the reason."""

    def __init__(self, error: OSError, folder: str | Path | None) -> None:
        """Describe what happened in the folder, which is unknown if none could be created."""
        where = f'in {folder} ' if folder else ''
        super().__init__(
            f'the frames before the last prompt cannot be kept {where}({error.strerror}); '
            'set TMPDIR to a folder with room for them, uncompressed'
        )


class _DiskStore:
    """Stores objects by frame index in files of a temporary folder."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder, self._name = Path(folder), name

    def put(self, index: int, item: Any) -> None:
        try:
            with self._path(index).open('wb') as file:
                pickle.dump(item, file, protocol=pickle.HIGHEST_PROTOCOL)
        except OSError as error:
            raise TemporaryFilesError(error, self._folder) from error

    def pop(self, index: int) -> Any:
        path = self._path(index)
        with path.open('rb') as file:
            item = pickle.load(file)  # noqa: S301 - written by `put` into our own folder
        path.unlink()
        return item

    def _path(self, index: int) -> Path:
        return self._folder / f'{self._name}_{index}'


def options_for(prompts: Sequence[FramePrompt], hide_below: float = 0.0) -> TrackerOptions:
    """Return options with room for all prompted objects and their conditioning frames.

    As many conditioning frames are kept as the object with most prompts has: at least the default
    of `TrackerOptions`, and at most six, so that one of the seven memory slots of the graphs
    remains for a recent frame.
    """
    options = offline.options_for(prompts, hide_below)
    frames: dict[int, set[int]] = {}
    for item in prompts:
        frames.setdefault(item.prompt.object_id, set()).add(item.frame)
    most = max(map(len, frames.values()), default=0)
    most = min(max(most, options.max_conditioning), MAX_CONDITIONING)
    return replace(options, max_conditioning=most)


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
        TemporaryFilesError: the temporary folder cannot be written, or has no room for the
            uncompressed frames before the last object's first prompt.
    """
    waiting = sorted(prompts, key=lambda item: item.frame)
    last = waiting[-1].frame
    first_of: dict[int, int] = {}
    stored: list[int] = []
    with _temporary_folder() if last else nullcontext('') as folder:
        frames, backwards = _DiskStore(folder, 'frame'), _DiskStore(folder, 'result')
        count = 0
        for timed in timeline(source, report=False):
            index, frame = timed.index, timed.frame
            count = index + 1
            due = [item.prompt for item in waiting if item.frame <= index]
            del waiting[: len(due)]
            if due:
                with _naming_frame(index):
                    tracker.prompt(index, frame.rgb, due, timed.seconds)
                for prompt in due:
                    first_of.setdefault(prompt.object_id, index)
            if index < last:
                frames.put(index, timed)
                stored.append(index)
            if not waiting:
                break
        check_applied(waiting, count)
        last = max(first_of.values())
        for index in reversed([index for index in stored if index < last]):
            timed = frames.pop(index)
            later = {number for number, first in first_of.items() if first > index}
            with _naming_frame(index):
                tracked = tracker.step(
                    index, timed.frame.rgb, reverse=True, only=later, stamp=timed.seconds
                )
            backwards.put(index, tracked)
        for timed in timeline(source):
            index, frame = timed.index, timed.frame
            begun = {number for number, first in first_of.items() if first <= index}
            with _naming_frame(index):
                tracked = tracker.step(index, frame.rgb, only=begun, stamp=timed.seconds)
            if index < last:
                tracked = merge([tracked, backwards.pop(index)])
            yield RecordedFrame(index, frame, replace(tracked, index=index, stamp=frame.stamp))


@contextmanager
def _temporary_folder() -> Iterator[str]:
    try:
        folder = tempfile.TemporaryDirectory(prefix='tam_')
    except OSError as error:
        raise TemporaryFilesError(error, error.filename) from error
    with folder as name:
        yield name


@contextmanager
def _naming_frame(index: int) -> Iterator[None]:
    """Add the frame index to the message of an error of the tracker."""
    try:
        yield
    except (FrameError, PromptError) as error:
        raise type(error)(f'frame {index}: {error}') from error
