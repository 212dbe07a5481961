# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracks a recording in both directions from its prompts, all of them known before.

An object is followed forwards from its first prompt and backwards to the first frame, so that a
prompt may be made where the object is easy to see. Frames before that prompt wait on disk until
their turn comes; nothing grows in memory with the length of the recording.
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

from tam_ros.io import frames as sources
from tam_ros.prompting.prompt_text import PromptSpecError
from tam_ros.recordings.offline import FramePrompt, Result
from tam_ros.tracking import ClipTracker, FrameError, Prompt, PromptError, TrackerOptions
from tam_ros.tracking.frame_result import merge
from tam_ros.tracking.options import MAX_CONDITIONING


class _Shelf:
    """Things by number, in files."""

    def __init__(self, folder: str, name: str) -> None:
        self._prefix = Path(folder) / name

    def put(self, number: int, thing: Any) -> None:
        with self._prefix.with_name(f'{self._prefix.name}_{number}').open('wb') as file:
            pickle.dump(thing, file, protocol=pickle.HIGHEST_PROTOCOL)

    def take(self, number: int) -> Any:
        path = self._prefix.with_name(f'{self._prefix.name}_{number}')
        with path.open('rb') as file:
            thing = pickle.load(file)  # noqa: S301 - written above, in a folder of our own
        path.unlink()
        return thing


def conditioning_frames(prompts: Iterable[FramePrompt]) -> int:
    """Return how many prompted frames an object should keep: all of them, as far as that goes.

    At least the tracker's own number, and at most its limit of six, so that of the seven memories
    of the graphs one is left to a recent frame.
    """
    frames: dict[int, set[int]] = {}
    for item in prompts:
        frames.setdefault(item.prompt.object_id, set()).add(item.frame)
    most = max(map(len, frames.values()), default=0)
    return min(max(most, TrackerOptions().max_conditioning), MAX_CONDITIONING)


def track(
    tracker: ClipTracker, source: sources.FrameSource, prompts: Iterable[FramePrompt]
) -> Iterator[Result]:
    """Track every frame both ways and give the results in the order of the recording.

    Args:
        tracker: without objects.
        source: the recording; gone through twice.
        prompts: at least one; those of one object on one frame count as given together.

    Raises:
        SourceError: the recording is damaged; the frames before the damage have been given,
            unless a prompt lies behind it.
        PromptError, FrameError: the tracker refuses a prompt or an image.
        PromptSpecError: the recording ends before the frame that a prompt names.
        OSError: no room for the frames before the prompts, as large as they are uncompressed.
    """
    by_frame: dict[int, list[Prompt]] = {}
    first_of: dict[int, int] = {}
    for item in prompts:
        by_frame.setdefault(item.frame, []).append(item.prompt)
        number = item.prompt.object_id
        first_of[number] = min(item.frame, first_of.get(number, item.frame))
    last = max(first_of.values())
    with tempfile.TemporaryDirectory(prefix='tam_') as folder:
        waiting, found = _Shelf(folder, 'frame'), _Shelf(folder, 'result')
        seen = 0
        for index, frame in enumerate(islice(source, max(by_frame) + 1)):
            seen += 1
            if index in by_frame:
                with _named(index):
                    tracker.prompt(index, frame.rgb, by_frame[index], frame.stamp)
            if index < last:
                waiting.put(index, frame)
        if seen <= max(by_frame):
            raise PromptSpecError(
                f'a prompt names frame {max(by_frame)}, but the recording ended '
                f'after {seen} frames'
            )
        for index in range(last - 1, -1, -1):
            frame = waiting.take(index)
            later = {number for number, first in first_of.items() if first > index}
            with _named(index):
                found.put(
                    index,
                    tracker.step(index, frame.rgb, reverse=True, only=later, stamp=frame.stamp),
                )
        for index, frame in enumerate(source):
            begun = {number for number, first in first_of.items() if first <= index}
            with _named(index):
                tracked = tracker.step(index, frame.rgb, only=begun, stamp=frame.stamp)
            if index < last:
                tracked = merge([tracked, found.take(index)])
            yield Result(index, frame, replace(tracked, index=index))


@contextmanager
def _named(index: int) -> Iterator[None]:
    """Put the frame into the message of what the tracker refuses."""
    try:
        yield
    except (FrameError, PromptError) as error:
        raise type(error)(f'frame {index}: {error}') from error
