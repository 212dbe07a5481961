# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Labels one recording: opens it, tracks it as `tam track` does, and fills a draft."""

from __future__ import annotations

import tempfile
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.detection import Detector, DetectorOptions
from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source
from tam_ros.labelling.addresses import fetch, is_address
from tam_ros.labelling.job import Job, JobError, Recording
from tam_ros.labelling.layouts import CLASS, LAYOUTS, Part, Picture, Place
from tam_ros.prompting.prompt_text import parse_prompts
from tam_ros.recordings import both_ways, offline
from tam_ros.recordings.detecting import DetectedObjects, with_late_prompts
from tam_ros.recordings.offline import FramePrompt, RecordedFrame
from tam_ros.tracking import ClipTracker, Tracker

_COMPARED = 64  # pixels; side of the small images that changes are measured on


@dataclass(frozen=True)
class Task:
    """What a worker needs to label one recording.

    Attributes:
        key: of its record.
        job: the job, with this recording alone.
        classes: all classes of the job.
        draft: an empty folder for the files.
    """

    key: str
    job: Job
    classes: tuple[str, ...]
    draft: Path

    @property
    def recording(self) -> Recording:
        """The recording."""
        return self.job.recordings[0]


@dataclass(frozen=True)
class Labelled:
    """The result of a task, whose files are in its draft.

    Attributes:
        frames: number of frames tracked.
        written: number of frames in the data sets.
        objects: number of objects.
        seconds: that it took.
        parts: what data sets need to know of it, by layout.
        note: why it ends before the end of the recording; empty if it does not.
    """

    frames: int
    written: int
    objects: int
    seconds: float
    parts: dict[str, Part]
    note: str = ''


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """Labelling was stopped between two frames."""


class Labeller(Closing):
    """Labels recordings one after another; the model is loaded once."""

    def __init__(self, open_tracker: Callable[..., Tracker | ClipTracker] | None = None) -> None:
        """Load nothing yet.

        Args:
            open_tracker: opens trackers, with the arguments of `Tracker.open`; None: as the job
                says.
        """
        self._open_tracker = open_tracker
        self._tracker: Tracker | ClipTracker | None = None
        self._opened: tuple[Any, ...] = ()

    def close(self) -> None:
        """Close the model."""
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None

    def label(
        self, task: Task, progress: Callable[[int, int | None], None] = lambda done, count: None
    ) -> Labelled:
        """Label a recording.

        Args:
            task: what to do.
            progress: called after each frame with the number of frames so far, and of all, if it
                is known; may raise `Stopped`.

        Raises:
            InputError: the recording, a prompt or a file of masks cannot be used.
            PromptError, FrameError: the tracker refuses a prompt or an image.
            WeightsError, EngineError: the model cannot be opened.
            OSError: the results cannot be written.
        """
        began = time.monotonic()
        job, recording = task.job, task.recording
        with ExitStack() as stack:
            path = Path(recording.source)
            if is_address(recording.source):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='tam_label_'))
                path = fetch(recording.source, Path(folder))
            source = open_source(path, recording.topic, recording.rate)
            prompts = prompts_of(recording)
            tracker = self._open(job, recording, prompts)
            if recording.tracks is not None and isinstance(tracker, Tracker):
                tracker.load(recording.tracks)
            offline.check(tracker, source, prompts)
            objects = {item.prompt.object_id for item in prompts} | set(tracker.objects)
            check_classes(task, objects)
            found = self._detected(stack, job, recording, tracker)
            given = dict(recording.classes)
            place = Place(
                draft=task.draft,
                name=recording.name,
                split=recording.split or 'train',
                classes=ChainMap({} if found is None else found.classes, given),
                names=task.classes,
                suffix=f'.{job.images}',
                rate_hz=source.rate_hz,
                polygons=job.polygons,
            )
            layouts = {
                name: stack.enter_context(LAYOUTS[name](place))
                for name in dict.fromkeys(job.write)
            }
            select = Selection(job.every, job.changed)
            frames = written = 0
            note = ''
            try:
                for result in _tracked(tracker, source, prompts, found):
                    picture = Picture(result.source.rgb, place.suffix)
                    chosen = select(result)
                    for layout in layouts.values():
                        if chosen or not layout.selects:
                            layout.write(result, picture)
                    frames, written = frames + 1, written + chosen
                    progress(frames, source.count)
            except SourceError as error:  # what a killed recorder has left is worth keeping
                if not frames:
                    raise
                note = str(error)
            parts = {name: layout.part() for name, layout in layouts.items()}
        if found is not None:
            objects |= found.objects.names.keys()
        seconds = round(time.monotonic() - began, 1)
        return Labelled(frames, written, len(objects), seconds, parts, note)

    def _detected(
        self, stack: ExitStack, job: Job, recording: Recording, tracker: Tracker | ClipTracker
    ) -> _Detected | None:
        """Open the detector of a recording, if it has one, until the stack is closed.

        Raises:
            UnknownModelError, WeightsError, ValueError: it cannot be opened.
        """
        if recording.detect is None or not isinstance(tracker, Tracker):
            return None
        settings: dict[str, Any] = {'weights': job.detect_weights}
        if recording.detect == 'everything':  # by the tracker's own model
            settings = {'model': job.model, 'weights': job.detect_weights or job.weights}
        detector = stack.enter_context(
            Detector.open(
                recording.detect,
                runtime=job.runtime,
                threads=job.threads,
                precision=job.precision,
                options=DetectorOptions(
                    min_score=job.detect_min_score, classes=job.detect_classes
                ),
                **settings,
            )
        )
        most = offline.options_for(prompts_of(recording)).max_objects
        found = DetectedObjects(detector, tracker, most, job.detect_every)
        return _Detected(found, bool(job.detect_classes))

    def _open(
        self, job: Job, recording: Recording, prompts: list[FramePrompt]
    ) -> Tracker | ClipTracker:
        """Return a tracker without objects, the one of the last recording if it fits."""
        kind: type[Tracker] | type[ClipTracker] = ClipTracker if recording.both_ways else Tracker
        options = (both_ways if recording.both_ways else offline).options_for(
            prompts, job.hide_below
        )
        if recording.detect is not None:
            options = with_late_prompts(options)
        wanted = (options, job.model, job.weights, job.runtime, job.precision, job.threads)
        if isinstance(self._tracker, Tracker) and kind is Tracker and wanted == self._opened:
            self._tracker.reset()
            return self._tracker
        self.close()
        self._tracker = (self._open_tracker or kind.open)(
            job.model,
            job.weights,
            job.runtime,
            threads=job.threads,
            precision=job.precision,
            options=options,
        )
        self._opened = wanted
        return self._tracker


class _Detected:
    """What a detector finds in a recording, and the classes of that.

    Attributes:
        objects: prompts the tracker.
        classes: class of each object that it found, by id.
    """

    def __init__(self, objects: DetectedObjects, named: bool) -> None:
        self.objects = objects
        self.classes: MutableMapping[int, str] = objects.names if named else {}


def _tracked(
    tracker: Tracker | ClipTracker,
    source: Any,
    prompts: list[FramePrompt],
    found: _Detected | None,
) -> Iterator[RecordedFrame]:
    if isinstance(tracker, ClipTracker):
        return both_ways.track(tracker, source, prompts)
    return offline.track(tracker, source, prompts, *([found.objects.prompts] if found else []))


def prompts_of(recording: Recording) -> list[FramePrompt]:
    """Return the prompts of a recording.

    Raises:
        PromptSpecError, PromptError, MaskFileError: one cannot be used.
    """
    prompts: list[FramePrompt] = []
    for text in recording.prompts:
        prompts += map(offline.written_prompt, parse_prompts(text))
    for text in recording.masks:
        prompts += offline.mask_prompts(*offline.split_frame(text))
    return prompts


def check_classes(task: Task, objects: set[int]) -> None:
    """Refuse objects without a class if the job names classes.

    Raises:
        JobError: there is one.
    """
    given = task.recording.classes
    missing = sorted(number for number in objects if number not in given)
    if missing and task.classes != (CLASS,):
        raise JobError(
            f'object {missing[0]} of {task.recording.name} has no class, but the job names some: '
            f'add classes: {{{missing[0]}: NAME}} to the recording'
        )


class Selection:
    """Which frames are written to data sets: every so many, or those that have changed."""

    def __init__(self, every: int, changed: float | None) -> None:
        """Begin a recording.

        Args:
            every: see `Job`.
            changed: see `Job`.
        """
        self._every, self._changed = every, changed
        self._count = 0
        self._last: NDArray[np.float32] | None = None

    def __call__(self, result: RecordedFrame) -> bool:
        """Return whether a frame is written."""
        chosen = self._count % self._every == 0
        self._count += 1
        if not chosen or self._changed is None:
            return chosen
        small = cv2.resize(
            result.source.rgb, (_COMPARED, _COMPARED), interpolation=cv2.INTER_AREA
        ).astype(np.float32)
        if self._last is not None and np.abs(small - self._last).mean() < self._changed:
            return False
        self._last = small
        return True
