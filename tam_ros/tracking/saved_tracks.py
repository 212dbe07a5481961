# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A track bank in a file: objects that a later run finds again.

The file is a compressed numpy archive without pickled objects: `about`, a JSON text, and for
each object its memories as the upper halves of float32 numbers (bfloat16, which is how they are
kept) and its pointers. Memories mean something only to the weights that made them, so the
model's fingerprint goes with them.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tam_ros.model_files import TrackerSpec
from tam_ros.runtime.base import Floats
from tam_ros.tracking.bank import MemoryBank
from tam_ros.tracking.frame_pipeline import Stages
from tam_ros.tracking.objects import ObjectMemory, ObjectTable

FORMAT = 1


class ArchiveError(ValueError):
    """A file of tracks that cannot be used; the message says why."""


@dataclass
class Archive:
    """What a tracker knows, the tensors aside.

    Attributes:
        index: of the next image.
        seconds: of the tracker's clock.
        size: (height, width) of the images; None before the first.
        table: the objects, and the ids that were used.
    """

    index: int
    seconds: float
    size: tuple[int, int] | None
    table: ObjectTable


def write(path: Path, spec: TrackerSpec, stages: Stages, archive: Archive) -> None:
    """Write a file, or leave the old one where that fails; OSError says why."""
    arrays: dict[str, np.ndarray] = {}
    objects = []
    for number, memory in sorted(archive.table.live.items()):
        memories, pointers = stages.read_row(memory.row)
        arrays[f'memories_{number}'] = (memories.view(np.uint32) >> 16).astype(np.uint16)
        arrays[f'pointers_{number}'] = pointers
        objects.append(
            {
                'id': number,
                'born_index': memory.born_index,
                'born_at': memory.born_at,
                'seen_at': memory.seen_at,
                'bank': memory.bank.to_json(),
            }
        )
    about = {
        'format': FORMAT,
        'model': spec.name,
        'fingerprint': spec.fingerprint,
        'index': archive.index,
        'seconds': archive.seconds,
        'size': archive.size,
        'used': sorted(archive.table.used),
        'objects': objects,
    }
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with partial.open('wb') as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path, spec: TrackerSpec, stages: Stages, max_objects: int) -> Archive:
    """Read a file and put the memories into the storage, over what is there.

    Raises:
        ArchiveError: the file is damaged or does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays['about']))
        if about['format'] != FORMAT:
            raise ArchiveError(f'{path} has format {about["format"]}; this version reads {FORMAT}')
        if (about['model'], about['fingerprint']) != (spec.name, spec.fingerprint):
            raise ArchiveError(
                f'{path} holds memories of {about["model"]} with weights {about["fingerprint"]}, '
                f'which mean nothing to {spec.name} with weights {spec.fingerprint}'
            )
        if len(about['objects']) > max_objects:
            raise ArchiveError(
                f'{path} holds {len(about["objects"])} objects; max_objects is {max_objects}'
            )
        loaded = [
            _object(row, values, arrays, spec, stages)
            for row, values in enumerate(about['objects'])
        ]
        table = ObjectTable(max_objects, used=set(about['used']))
        size = tuple(about['size']) if about['size'] else None
        found = Archive(int(about['index']), float(about['seconds']), size, table)
    except FileNotFoundError:
        raise ArchiveError(f'{path} does not exist') from None
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f'{path} cannot be read as a file of tracks: {error}') from error
    for memory, memories, pointers in loaded:
        stages.write_row(memory.row, memories, pointers)
        table.enter(memory)
    return found


def _object(
    row: int, values: dict, arrays: dict[str, np.ndarray], spec: TrackerSpec, stages: Stages
) -> tuple[ObjectMemory, Floats, Floats]:
    """Read one object; its slots move to where this tracker would have put them."""
    number = int(values['id'])
    bank, *origins = MemoryBank.from_json(values['bank'], stages.shape)
    halves = arrays[f'memories_{number}'].astype(np.uint32) << 16
    sources = halves.view(np.float32), arrays[f'pointers_{number}'].astype(np.float32)
    targets = []
    for origin, source, shape in zip(
        origins, sources, ((spec.memory_tokens, spec.memory_dim), (spec.dim,)), strict=True
    ):
        if source.shape[1:] != shape:
            raise ValueError(f'an array of object {number} has shape {source.shape}')
        target = np.zeros((len(origin), *shape), np.float32)
        filled = np.flatnonzero(np.array(origin) >= 0)
        target[filled] = source[np.array(origin)[filled]]
        targets.append(target)
    memory = ObjectMemory(
        number,
        row,
        bank,
        int(values['born_index']),
        float(values['born_at']),
        float(values['seen_at']),
    )
    return memory, *targets
