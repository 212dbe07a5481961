# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The job file of `tam label`: which recordings, what to track in them, what to write.

A job is a YAML file, see docs/labelling.md:

    recordings:
      - {source: drive1.mcap, topic: /camera/image_raw, prompts: ['1:point:320,240']}
      - {source: 'garage/*.mp4', detect: everything}
    output: labelled/
    write: [bag, yolo]

Paths are relative to the file.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from tam_ros.checked_fields import check_types
from tam_ros.labelling.addresses import expand, is_address
from tam_ros.labelling.layouts import CLASS, LAYOUTS
from tam_ros.reading import InputError, reading
from tam_ros.regular_file import read_regular

SPLITS = ('train', 'val')
IMAGE_FORMATS = ('jpg', 'png')
_MAX_FILE = 64 << 20  # bytes of a job file; 10,000 recordings need some megabytes
_MAX_NAME = 80  # characters of a recording's name, which becomes a part of file names


class JobError(InputError, ValueError):
    """A job cannot be run as it is written; the message says what is wrong with it."""


@dataclass(frozen=True)
class Recording:
    """A recording of a job.

    Attributes:
        source: its path, or its address (`s3://bucket/drive1.mcap`).
        name: in the names of the results; unique in the job.
        topic: image topic, if a bag has several.
        rate: frames per second in place of the recording's own times; None: its own.
        prompts: as for `tam track --prompt`.
        masks: as for `tam track --masks`: `FILE` or `FILE@FRAME`.
        tracks: a file of saved tracks, to continue with.
        detect: a detector that finds objects, as for `tam track --detect`.
        both_ways: whether objects are also tracked backwards from their first prompts.
        classes: class of each object, by id; without any in the job, all are `object`.
        split: `train` or `val`; None: chosen by the job's `val`.
    """

    source: str
    name: str
    topic: str | None = None
    rate: float | None = None
    prompts: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    tracks: str | None = None
    detect: str | None = None
    both_ways: bool = False
    classes: Mapping[int, str] = field(default_factory=dict)
    split: str | None = None


@dataclass(frozen=True)
class Job:
    """A job, with the defaults filled in and the patterns of its recordings expanded.

    Attributes:
        recordings: in the order of the file.
        output: folder of the results.
        write: names of `layouts.LAYOUTS`.
        model: catalogue name.
        weights: a checkpoint or a folder of graphs, in place of the model's own; None: its own.
        runtime: as for `tam track`.
        precision: as for `tam track`.
        threads: CPU threads of each process.
        hide_below: see `TrackerOptions`.
        detect_weights: weights of the detector, in place of its own.
        detect_every: frames from one look of the detector to the next.
        detect_classes: only objects of these classes, which are then theirs; empty: any.
        detect_min_score: only objects with a score above this, 0 to 1.
        every: every how many frames one is written to data sets; all are tracked.
        changed: least mean change of the pixel values, 0 to 255, from the last written frame to
            one that is written to data sets; None: any.
        images: format of the frames in data sets.
        val: share of the recordings that are for validation.
        polygons: whether COCO annotations have polygons instead of run lengths.
    """

    recordings: tuple[Recording, ...]
    output: Path
    write: tuple[str, ...]
    model: str = 'efficienttam_nano'
    weights: str | None = None
    runtime: str = 'onnxruntime'
    precision: str = 'auto'
    threads: int = 1
    hide_below: float = 0.0
    detect_weights: str | None = None
    detect_every: int = 30
    detect_classes: tuple[str, ...] = ()
    detect_min_score: float = 0.3  # as for `tam track --detect`
    every: int = 1
    changed: float | None = None
    images: str = 'jpg'
    val: float = 0.0
    polygons: bool = True

    def __post_init__(self) -> None:
        """Check the types; ValueError names the entry that is wrong."""
        check_types(self)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, sorted; their numbers in data sets are their places here."""
        named = {name for one in self.recordings for name in one.classes.values()}
        if any(one.detect for one in self.recordings):
            named.update(self.detect_classes)
        return tuple(sorted(named)) or (CLASS,)


def read_job(path: str | Path) -> Job:
    """Read a job file, and find the recordings that it names.

    Raises:
        JobError: it is no YAML, has unknown or wrong entries, or a recording does not exist.
    """
    path = Path(path)
    with reading(path, JobError, 'a job'):
        values = yaml.safe_load(read_regular(path, _MAX_FILE).decode())
        with_text = values if isinstance(values, dict) else {}
        if not with_text:
            raise JobError(f'{path} is not a job: it needs recordings, output and write')
        return _job(with_text, path.absolute().parent, path)


def _job(values: dict[str, Any], base: Path, path: Path) -> Job:
    known = [one.name for one in fields(Job)]
    _refuse_unknown(values, known, f'{path}')
    for name in ('recordings', 'output', 'write'):
        if name not in values:
            raise JobError(f'{path} has no {name!r}')
    entries = values.pop('recordings')
    if not isinstance(entries, list) or not entries:
        raise JobError(f'{path}: recordings is not a list of at least one')
    recordings = [
        recording
        for number, entry in enumerate(entries, 1)
        for recording in _recordings(entry, base, f'{path}, recording {number}')
    ]
    detected = _texts(values.pop('detect_classes', []), f'{path}: detect_classes')
    job = Job(
        detect_classes=detected,
        recordings=tuple(_with_unique_names(recordings)),
        output=base / _text(values.pop('output'), f'{path}: output'),
        write=_texts(values.pop('write'), f'{path}: write'),
        **values,
    )
    if job.weights is not None:
        job = replace(job, weights=_beside(job.weights, base))
    if job.detect_weights is not None:
        job = replace(job, detect_weights=_beside(job.detect_weights, base))
    _check(job, path)
    return replace(job, recordings=tuple(_with_splits(job)))


def _check(job: Job, path: Path) -> None:
    unknown = [name for name in job.write if name not in LAYOUTS]
    if unknown or not job.write:
        raise JobError(f'{path}: write is {list(job.write)}; choose of {", ".join(LAYOUTS)}')
    if job.images not in IMAGE_FORMATS:
        raise JobError(f'{path}: images is {job.images!r}; choose of {", ".join(IMAGE_FORMATS)}')
    for name, low, high in (
        ('every', 1, 1_000_000),
        ('threads', 1, 256),
        ('val', 0, 0.9),
        ('hide_below', 0, 1),
        ('detect_every', 1, 1_000_000),
        ('detect_min_score', 0, 1),
    ):
        if not low <= getattr(job, name) <= high:
            raise JobError(f'{path}: {name} is {getattr(job, name)}; {low} to {high}')
    if job.changed is not None and not 0 < job.changed <= 255:
        raise JobError(f'{path}: changed is {job.changed}; above 0, up to 255')


def _recordings(entry: Any, base: Path, where: str) -> list[Recording]:
    """Return the recordings of an entry, one for each file that its pattern matches."""
    if not isinstance(entry, dict):
        raise JobError(f'{where} is not a mapping such as {{source: drive.mcap, prompts: [...]}}')
    known = [one.name for one in fields(Recording)]
    _refuse_unknown(entry, known, where)
    source = _text(entry.get('source'), f'{where}: source')
    found = _find(source, base, where)
    name = entry.get('name')
    if name is not None and len(found) > 1:
        raise JobError(
            f'{where} matches {len(found)} recordings, which cannot all be named {name}'
        )
    split = entry.get('split')
    if split is not None and split not in SPLITS:
        raise JobError(f'{where}: split is {split!r}; choose of {", ".join(SPLITS)}')
    both_ways = entry.get('both_ways', False)
    if not isinstance(both_ways, bool):
        raise JobError(f'{where}: both_ways is {both_ways!r}; true or false')
    tracks = entry.get('tracks')
    common = Recording(
        source='',
        name='',
        topic=None if entry.get('topic') is None else _text(entry['topic'], f'{where}: topic'),
        rate=_rate(entry.get('rate'), where),
        prompts=_texts(entry.get('prompts', []), f'{where}: prompts'),
        masks=tuple(
            _beside(mask, base) for mask in _texts(entry.get('masks', []), f'{where}: masks')
        ),
        tracks=None if tracks is None else _beside(_text(tracks, f'{where}: tracks'), base),
        detect=None if entry.get('detect') is None else _text(entry['detect'], f'{where}: detect'),
        both_ways=both_ways,
        classes=_classes(entry.get('classes', {}), where),
        split=split,
    )
    if not (common.prompts or common.masks or common.tracks or common.detect):
        raise JobError(f'{where} has nothing to track: give prompts, masks, tracks or detect')
    if common.both_ways and (common.tracks or common.detect):
        raise JobError(f'{where}: tracks and detect look forwards only, so not with both_ways')
    return [
        replace(common, source=one, name=safe_name(str(name or Path(one.rstrip('/')).stem)))
        for one in found
    ]


def _find(source: str, base: Path, where: str) -> list[str]:
    """Return the files and folders that a path, a pattern or an address stands for."""
    if is_address(source):
        found = expand(source)
    else:
        pattern = str(base / Path(source).expanduser())
        found = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise JobError(f'{where}: there is no {source}')
    return found


def safe_name(text: str) -> str:
    """Return a text as a part of file names: letters, digits, `_`, `.` and `-` remain."""
    return re.sub(r'[^\w.-]+', '_', text).strip('._')[:_MAX_NAME] or 'recording'


def _with_unique_names(recordings: Iterable[Recording]) -> list[Recording]:
    """Number the recordings whose names another one has."""
    taken: set[str] = set()
    result = []
    for one in recordings:
        name, number = one.name, 2
        # Not case-sensitive, since file systems of other machines are not.
        while name.lower() in taken:
            name, number = f'{one.name}_{number}', number + 1
        taken.add(name.lower())
        result.append(replace(one, name=name))
    return result


def _with_splits(job: Job) -> list[Recording]:
    """Choose recordings for validation, always the same ones whatever their order."""
    open_ones = [one for one in job.recordings if one.split is None]
    ranked = sorted(open_ones, key=lambda one: hashlib.sha256(one.name.encode()).digest())
    chosen = {one.name for one in ranked[: round(job.val * len(ranked))]}
    return [
        one if one.split else replace(one, split='val' if one.name in chosen else 'train')
        for one in job.recordings
    ]


def _refuse_unknown(values: dict[Any, Any], known: list[str], where: str) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f'; did you mean {near[0]!r}?' if near else f'; known are {", ".join(known)}'
            raise JobError(f'{where} has an unknown entry {str(name)[:60]!r}{hint}')


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise JobError(f'{where} is {str(value)[:60]!r}, not a text')
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise JobError(f'{where} is not a list of texts')
    return tuple(values)


def _rate(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise JobError(f'{where}: rate is {str(value)[:60]!r}; frames per second')
    return float(value)


def _classes(value: Any, where: str) -> dict[int, str]:
    good = isinstance(value, dict) and all(
        isinstance(key, int) and isinstance(name, str) and name.strip()
        for key, name in value.items()
    )
    if not good:
        raise JobError(f'{where}: classes is not a mapping such as {{1: forklift}}')
    return {key: ' '.join(name.split()) for key, name in value.items()}


def _beside(text: str, base: Path) -> str:
    return text if is_address(text) else str(base / Path(text).expanduser())
