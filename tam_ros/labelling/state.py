# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The output folder of a job: what is finished in it, and how a recording's results get there.

A recording is written into a draft, below `.tam_label`, and published when it is complete: its
files are moved one by one, each in one step, and then a record says that it is finished. What a
run that was killed has half published is listed in a file and is removed by the next run. A record
is found by what was labelled, not by its name: see `key_of`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tam_ros.closing import Closing
from tam_ros.labelling.addresses import is_address, version_of
from tam_ros.labelling.job import Job, JobError, Recording
from tam_ros.new_output import NewOutput, OutputError
from tam_ros.reading import failing_as, reading
from tam_ros.recordings.offline import split_frame
from tam_ros.regular_file import read_regular, sha256

FORMAT = 1  # of the records; raised if the same job would give other results

_STATE = '.tam_label'
_MAX_RECORD = 1 << 28  # bytes
_MAX_BYTES = 1 << 50  # of a recording


@dataclass(frozen=True)
class Record:
    """A recording that is finished.

    Attributes:
        key: see `key_of`.
        name: of the recording, in the names of its files.
        source: its path or address.
        topic: its image topic, if it was chosen.
        split: `train` or `val`.
        digest: SHA-256 of its content.
        model: fingerprint of the weights.
        frames: number of frames tracked.
        written: number of frames in the data sets.
        objects: number of objects.
        seconds: that it took.
        version: of tam_ros.
        parts: what data sets need to know of it, by layout.
        note: why it ends before the end of the recording; empty if it does not.
    """

    key: str
    name: str
    source: str
    topic: str | None
    split: str
    digest: str
    model: str
    frames: int
    written: int
    objects: int
    seconds: float
    version: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    note: str = ''


def is_output_folder(path: Path) -> bool:
    """Return whether a folder has been written by `tam label`."""
    return (path / _STATE / 'records').is_dir()


class OutputFolder(Closing):
    """The output folder of a job, which one run at a time may write."""

    def __init__(self, path: Path) -> None:
        """Create or open the folder, and clean up after a run that was killed.

        Raises:
            OutputError: it cannot be written, or another run writes it.
        """
        self.path = path
        self._state = path / _STATE
        try:
            for name in ('drafts', 'records', 'files', 'publishing'):
                (self._state / name).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._state / 'lock', os.O_CREAT | os.O_RDWR, 0o666)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._lock)
                raise OutputError(f'{path} is being written by another run') from error
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f'{path} cannot be written: {error.strerror}') from error
        self._remove_half_published()

    def close(self) -> None:
        """Let other runs write the folder."""
        os.close(self._lock)

    def records(self) -> dict[str, Record]:
        """Return what is finished, by key."""
        found = {}
        for file in sorted((self._state / 'records').glob('*.json')):
            with reading(file, JobError, 'a record'):
                record = Record(**json.loads(read_regular(file, _MAX_RECORD)))
                found[record.key] = record
        return found

    def draft(self, key: str) -> Path:
        """Return an empty folder for the files of a recording."""
        folder = self._state / 'drafts' / key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def publish(self, record: Record, superseded: Iterable[str] = ()) -> None:
        """Move the files of a draft to their places, and write the record.

        Args:
            record: of the recording.
            superseded: keys of records that this one replaces; their files are removed.

        Raises:
            OutputError: a file that this job has not made is in the way, or the disk is full.
        """
        draft = self._state / 'drafts' / record.key
        files = sorted(
            str(file.relative_to(draft)) for file in draft.rglob('*') if not file.is_dir()
        )
        try:
            for key in superseded:
                self.remove(key)
            for name in files:
                if os.path.lexists(self.path / name):
                    raise OutputError(f'{self.path / name} exists; it was not made by this job')
            self._write(f'publishing/{record.key}.json', files)
            for name in files:
                target = self.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (draft / name).rename(target)
            self._write(f'files/{record.key}.json', files)
            self._write(f'records/{record.key}.json', asdict(record))
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f'the results of {record.name} cannot be written: {error.strerror}'
            ) from error
        self._path('publishing', record.key).unlink()
        shutil.rmtree(draft, ignore_errors=True)

    def remove(self, key: str) -> None:
        """Remove the files and the record of a recording."""
        self._path('records', key).unlink(missing_ok=True)
        self._remove_files(self._path('files', key))

    def write_text(self, name: str, text: Iterable[str]) -> None:
        """Write or replace a file of the folder, completely or not at all.

        Args:
            name: path in the folder.
            text: in pieces.

        Raises:
            OutputError: the disk is full.
        """
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with NewOutput(path, replace=True) as output:
            try:
                with output.partial.open('x', encoding='utf-8') as file:
                    file.writelines(text)
            except OSError as error:
                raise OutputError(f'{path} cannot be written: {error.strerror}') from error
            output.publish()

    def digest_of(self, source: str) -> str:
        """Return the SHA-256 of a recording's content, from the last run if it has not changed.

        Of an address it is that of what its file system has to tell versions apart.

        Raises:
            AddressError, OSError: it cannot be read.
        """
        if is_address(source):
            return version_of(source)
        path = Path(source)
        files = (
            [path] if path.is_file() else sorted(one for one in path.rglob('*') if one.is_file())
        )
        stamp = [
            [str(one.relative_to(path)), one.stat().st_size, one.stat().st_mtime_ns]
            for one in files
        ]
        name = hashlib.sha256(f'{path.resolve()}\n{stamp}'.encode()).hexdigest()
        known = self._state / 'digests' / name
        if known.is_file():
            return known.read_text()
        total = hashlib.sha256()
        for one in files:
            # Names count: the order of an image folder depends on them.
            total.update(f'{one.relative_to(path)}\n'.encode())
            total.update(sha256(one, _MAX_BYTES).encode())
        known.parent.mkdir(exist_ok=True)
        known.write_text(total.hexdigest())
        return total.hexdigest()

    def _remove_half_published(self) -> None:
        for listed in (self._state / 'publishing').glob('*.json'):
            if self._path('records', listed.stem).exists():
                listed.unlink()
            else:
                self._remove_files(listed)
        shutil.rmtree(self._state / 'drafts', ignore_errors=True)
        (self._state / 'drafts').mkdir(exist_ok=True)

    def _remove_files(self, listed: Path) -> None:
        if not listed.is_file():
            return
        with reading(listed, JobError, 'a list of files'):
            names = json.loads(read_regular(listed, _MAX_RECORD))
        folders = set()
        for name in names:
            (self.path / name).unlink(missing_ok=True)
            folders.update((self.path / name).parents)
        for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
            if self.path in folder.parents and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        listed.unlink()

    def _write(self, name: str, content: Any) -> None:
        with NewOutput(self._state / name, replace=True) as output:
            output.partial.write_text(json.dumps(content))
            output.publish()

    def _path(self, kind: str, key: str) -> Path:
        return self._state / kind / f'{key}.json'


def key_of(job: Job, recording: Recording, classes: Iterable[str], digest: str, model: str) -> str:
    """Return what a record is found by: a hash of all that its results depend on.

    Args:
        job: the job.
        recording: of the job; its name and place are not part of the key, nor are the other
            recordings.
        classes: all classes of the job, which give their numbers in data sets.
        digest: SHA-256 of the recording's content.
        model: fingerprint of the weights.

    Raises:
        JobError: a file of masks or tracks cannot be read.
    """
    files = []
    for text in recording.masks:
        with failing_as(JobError, f'the prompt {text!r} cannot be used'):
            mask, frame = split_frame(text)
        files.append([frame, _content(Path(mask))])
    if recording.tracks is not None:
        files.append([-1, _content(Path(recording.tracks))])
    about = {
        'format': FORMAT,
        'digest': digest,
        'model': [job.model, model, job.runtime, job.precision],
        'track': [
            recording.topic,
            recording.rate,
            recording.prompts,
            files,
            recording.both_ways,
            job.hide_below,
            *_detector(job, recording),
        ],
        'write': [
            sorted(job.write),
            job.every,
            job.changed,
            job.images,
            job.polygons,
            recording.split,
            sorted(recording.classes.items()),
            list(classes),
        ],
    }
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def _content(path: Path) -> str:
    with reading(path, JobError, 'a file of the job'):
        return sha256(path, _MAX_BYTES)


def _detector(job: Job, recording: Recording) -> list[Any]:
    """Return what the results depend on where a detector looks."""
    if recording.detect is None:
        return []
    weights = None
    if job.detect_weights is not None and Path(job.detect_weights).is_file():
        weights = _content(Path(job.detect_weights))
    return [
        recording.detect,
        weights or job.detect_weights,
        job.detect_every,
        list(job.detect_classes),
        job.detect_min_score,
    ]
