# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Runs a job: what is not finished yet is given to workers, and what they return is published."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tam_ros import __version__
from tam_ros.labelling.job import Job, Recording
from tam_ros.labelling.labeller import Task
from tam_ros.labelling.layouts import LAYOUTS
from tam_ros.labelling.state import OutputFolder, Record, key_of
from tam_ros.labelling.workers import Event, Workers
from tam_ros.new_output import OutputError
from tam_ros.reading import InputError

_POLL_SECONDS = 0.2

DATASHEET = 'datasheet.md'


@dataclass
class Summary:
    """What a run has done.

    Attributes:
        finished: records of all recordings of the job that are finished, in its order.
        before: how many of them were finished before the run.
        failed: reason for each recording that cannot be labelled, by name.
        same: recordings whose content and prompts are those of another one, by name.
        notes: recordings that end before their end, and why, by name.
        stale: names of finished recordings that are no longer in the job.
        stopped: whether it was stopped before the end.
    """

    finished: list[Record] = field(default_factory=list)
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    stopped: bool = False


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        total: number of recordings of the job.
        done: number of those that are finished or have failed.
        running: frames done and frames in all, or None, by name of the recording.
        frames: number of frames labelled in this run.
        seconds: since its start.
    """

    total: int
    done: int = 0
    running: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0


def run(
    job: Job,
    folder: OutputFolder,
    workers: Workers,
    fingerprint: str,
    *,
    retries: int = 2,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    prune: bool = False,
) -> Summary:
    """Label what is not finished, and write the files that data sets have once.

    Args:
        job: the job.
        folder: its output folder.
        workers: who labels.
        fingerprint: of the weights.
        retries: how often a recording is tried again whose worker has ended.
        report: called when something has happened.
        stop: returns whether to end early; what is finished by then is complete.
        prune: whether results are removed whose recordings are no longer in the job.

    Raises:
        OutputError: the output folder cannot be written.
    """
    return _Run(job, folder, workers, fingerprint, retries, report).until_done(stop, prune)


class _Run:
    def __init__(
        self,
        job: Job,
        folder: OutputFolder,
        workers: Workers,
        fingerprint: str,
        retries: int,
        report: Callable[[Progress], None],
    ) -> None:
        self._job, self._folder, self._workers = job, folder, workers
        self._fingerprint, self._retries, self._report = fingerprint, retries, report
        self._summary = Summary()
        self._progress = Progress(len(job.recordings))
        self._records = folder.records()
        self._recordings: dict[str, Recording] = {}
        self._digests: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        self._waiting: list[str] = []
        self._began = time.monotonic()

    def until_done(self, stop: Callable[[], bool], prune: bool) -> Summary:
        self._plan(stop)
        running: set[str] = set()
        while (self._waiting or running) and not stop():
            while self._waiting and self._workers.free():
                key = self._waiting.pop(0)
                self._start(key)
                running.add(key)
            self._tell()
            for event in self._workers.events(_POLL_SECONDS):
                if self._handle(event):
                    running.discard(event.key)
        self._summary.stopped = bool(self._waiting or running)
        self._workers.close()
        self._finish(prune)
        self._tell()
        return self._summary

    def _plan(self, stop: Callable[[], bool]) -> None:
        """Find out what is finished already."""
        classes = self._job.classes
        for recording in self._job.recordings:
            if stop():
                self._waiting.append('')  # not known yet, but not finished
                return
            try:
                digest = self._folder.digest_of(recording.source)
                key = key_of(self._job, recording, classes, digest, self._fingerprint)
            except (InputError, OSError) as error:
                self._fail(recording.name, str(error))
                continue
            other = self._recordings.setdefault(key, recording)
            if other is not recording:
                self._summary.same[recording.name] = other.name
                self._progress.total -= 1
                continue
            self._digests[key] = digest
            if key in self._records:
                self._summary.before += 1
                self._progress.done += 1
            else:
                self._waiting.append(key)

    def _start(self, key: str) -> None:
        recording = self._recordings[key]
        job = replace(self._job, recordings=(recording,))
        self._tries[key] = self._tries.get(key, 0) + 1
        self._workers.start(Task(key, job, self._job.classes, self._folder.draft(key)))
        self._progress.running[recording.name] = (0, None)

    def _handle(self, event: Event) -> bool:
        """Take an event; return whether it ends the try."""
        name = self._recordings[event.key].name
        if event.lost:
            del self._progress.running[name]
            if self._tries[event.key] <= self._retries:
                self._waiting.insert(0, event.key)
            else:
                tries = f'{self._tries[event.key]} times: ' if self._retries else ''
                self._fail(name, f'the process that labelled it ended {tries}{event.lost}')
            return True
        if event.failure:
            del self._progress.running[name]
            self._fail(name, event.failure)
            return True
        if event.result is None:
            before, _ = self._progress.running[name]
            self._progress.frames += max(0, event.frames - before)
            self._progress.running[name] = (event.frames, event.count)
            return False
        del self._progress.running[name]
        self._publish(event)
        return True

    def _publish(self, event: Event) -> None:
        recording, result = self._recordings[event.key], event.result
        assert result is not None
        record = Record(
            key=event.key,
            name=recording.name,
            source=recording.source,
            topic=recording.topic,
            split=recording.split or 'train',
            digest=self._digests[event.key],
            model=self._fingerprint,
            frames=result.frames,
            written=result.written,
            objects=result.objects,
            seconds=result.seconds,
            version=__version__,
            parts=result.parts,
            note=result.note,
        )
        superseded = [
            key
            for key, one in self._records.items()
            if one.name == record.name and key not in self._recordings
        ]
        try:
            self._folder.publish(record, superseded)
        except OutputError as error:
            self._fail(recording.name, str(error))
            return
        for key in superseded:
            del self._records[key]
        self._records[event.key] = record
        self._progress.done += 1

    def _fail(self, name: str, why: str) -> None:
        self._summary.failed[name] = why
        self._progress.done += 1

    def _finish(self, prune: bool) -> None:
        stale = [key for key in self._records if key not in self._recordings]
        if prune and not self._summary.stopped:
            for key in stale:
                self._folder.remove(key)
        else:
            self._summary.stale = [self._records[key].name for key in stale]
        finished = [self._records[key] for key in self._recordings if key in self._records]
        self._summary.finished = finished
        self._summary.notes = {one.name: one.note for one in finished if one.note}
        for name in dict.fromkeys(self._job.write):
            parts = {one.name: {**one.parts.get(name, {}), 'split': one.split} for one in finished}
            if not parts:
                continue
            files = LAYOUTS[name].finish(self._folder.path, parts, self._job.classes)
            for path, text in files.items():
                self._folder.write_text(path, text)
        if finished:
            self._folder.write_text(DATASHEET, [datasheet(self._job, finished, self._summary)])

    def _tell(self) -> None:
        self._progress.seconds = time.monotonic() - self._began
        self._report(self._progress)


def datasheet(job: Job, finished: list[Record], summary: Summary) -> str:
    """Return what was made by what, as Markdown."""
    lines = [
        '# What is in this folder',
        '',
        f'Labels of {len(finished)} of {len(job.recordings)} recordings, made by `tam label`: '
        'masks that a tracker has drawn from prompts, not by people.',
        '',
        f'- model: {job.model}, weights {finished[0].model}, run by {job.runtime}',
        f'- tam_ros: {", ".join(sorted({one.version for one in finished}))}',
        f'- written: {", ".join(job.write)}',
        f'- frames in data sets: {_selection(job)}, {job.images}',
        f'- classes: {", ".join(job.classes)}',
        '',
        '| recording | source | split | frames | in data sets | objects | SHA-256 |',
        '| --- | --- | --- | --- | --- | --- | --- |',
        *(
            f'| {one.name} | {Path(one.source).name} | {one.split} | {one.frames} | {one.written} '
            f'| {one.objects} | {one.digest[:16]} |'
            for one in finished
        ),
    ]
    for title, reasons in (
        ('Not labelled', summary.failed),
        ('Labelled up to a damage', summary.notes),
        ('Labelled once, since content and prompts are the same', summary.same),
    ):
        if reasons:
            lines += [
                '',
                f'## {title}',
                '',
                *(f'- {name}: {why}' for name, why in reasons.items()),
            ]
    return '\n'.join(lines) + '\n'


def _selection(job: Job) -> str:
    text = 'all' if job.every == 1 else f'one of every {job.every}'
    return (
        text if job.changed is None else f'{text} that changed by {job.changed:g} of 255 or more'
    )


def fingerprint_of(model: str, weights: str | None, runtime: str, precision: str) -> str:
    """Return the fingerprint of the weights that a job would use, without loading them.

    Raises:
        UnknownModelError, WeightsError: there is no such model, or it has no weights here.
    """
    from tam_ros import catalogue
    from tam_ros.loading import find_weights
    from tam_ros.model_files import UNTRAINED, read_spec, sha256

    found: Any = find_weights(catalogue.model(model), weights, runtime, precision)
    if str(found) == UNTRAINED:
        return UNTRAINED
    return read_spec(found).fingerprint if found.is_dir() else sha256(found)
