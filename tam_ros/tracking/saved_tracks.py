# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Saves the objects of a tracker and their memories to a file, for a later run.

The file is a compressed numpy archive without pickled objects. It contains `about`, a JSON text,
and for each object its memories, as the upper 16 bits of float32 (they are rounded to bfloat16),
and its object pointers. Memories are valid only for the weights that computed them, so the file
also contains the fingerprint of the model.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tam_ros.model_files import TrackerSpec
from tam_ros.new_output import NewOutput, OutputError
from tam_ros.runtime.base import Floats
from tam_ros.tracking.bank import BankShape, MemoryBank
from tam_ros.tracking.frame_pipeline import FramePipeline
from tam_ros.tracking.objects import ObjectMemory, ObjectTable

FORMAT = 1


class SavedTracksError(ValueError):
    """A file of saved tracks cannot be used; the message says why."""


@dataclass
class SavedTracks:
    """The state of a tracker, except for the tensors.

    Attributes:
        index: index of the next image.
        seconds: time of the last image on the tracker's clock.
        size: (height, width) of the images, pixels; None before the first image.
        table: the objects, and the ids that have been used.
    """

    index: int
    seconds: float
    size: tuple[int, int] | None
    table: ObjectTable


def write_tracks(
    path: Path, spec: TrackerSpec, pipeline: FramePipeline, tracks: SavedTracks
) -> None:
    """Write a file; an existing file is kept if that fails.

    Raises:
        OutputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {}
    objects = []
    for number, memory in sorted(tracks.table.live.items()):
        memories, pointers = pipeline.read_row(memory.row)
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
        'index': tracks.index,
        'seconds': tracks.seconds,
        'size': tracks.size,
        'used': sorted(tracks.table.used),
        'objects': objects,
    }
    with NewOutput(path, replace=True) as output:
        try:
            with output.partial.open('wb') as file:
                np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OutputError(f'{path} cannot be written: {reason}') from error
        output.publish()


def read_tracks(
    path: Path, spec: TrackerSpec, pipeline: FramePipeline, max_objects: int
) -> SavedTracks:
    """Read a file and write its memories to the storage, whose contents are overwritten.

    Raises:
        SavedTracksError: the file is damaged, or not for this model and these options. The
            storage is unchanged then.
    """
    try:
        arrays, about = _read_archive(path)
        if about['format'] != FORMAT:
            raise SavedTracksError(
                f'{path} has format {about["format"]}; this version reads {FORMAT}'
            )
        if (about['model'], about['fingerprint']) != (spec.name, spec.fingerprint):
            raise SavedTracksError(
                f'{path} has memories of {about["model"]} with weights {about["fingerprint"]}, '
                f'which {spec.name} with weights {spec.fingerprint} cannot use'
            )
        if len(about['objects']) > max_objects:
            raise SavedTracksError(
                f'{path} contains {len(about["objects"])} objects; max_objects is {max_objects}'
            )
        loaded = [
            _object(row, values, arrays, spec, pipeline.shape)
            for row, values in enumerate(about['objects'])
        ]
        table = ObjectTable(max_objects, used=set(about['used']))
        size = tuple(about['size']) if about['size'] else None
        tracks = SavedTracks(int(about['index']), float(about['seconds']), size, table)
    except FileNotFoundError:
        raise SavedTracksError(f'{path} does not exist') from None
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        if isinstance(error, SavedTracksError):
            raise
        raise SavedTracksError(f'{path} cannot be read as a file of tracks: {error}') from error
    for memory, memories, pointers in loaded:
        pipeline.write_row(memory.row, memories, pointers)
        table.add(memory)
    return tracks


def _read_archive(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of a file, and its description.

    Raises:
        FileNotFoundError: there is no such file.
        SavedTracksError: it is not a file of tracks.
    """
    try:
        if not zipfile.is_zipfile(path):
            path.stat()
            raise ValueError('not an archive of numpy')
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays['about']))
    except FileNotFoundError:
        raise
    except Exception as error:  # the messages of numpy and zipfile are about their options
        raise SavedTracksError(
            f'{path} cannot be read as a file of tracks: it is another kind of file, or damaged'
        ) from error


def _object(
    row: int,
    values: dict[str, Any],
    arrays: dict[str, Any],
    spec: TrackerSpec,
    shape: BankShape,
) -> tuple[ObjectMemory, Floats, Floats]:
    """Read one object; its memories may move to other slots, as `shape` may differ."""
    number = int(values['id'])
    bank, *origins = MemoryBank.from_json(values['bank'], shape)
    halves = arrays[f'memories_{number}'].astype(np.uint32) << 16
    sources = halves.view(np.float32), arrays[f'pointers_{number}'].astype(np.float32)
    targets = []
    for origin, source, expected in zip(
        origins, sources, ((spec.memory_tokens, spec.memory_dim), (spec.dim,)), strict=True
    ):
        if source.shape[1:] != expected:
            raise ValueError(f'an array of object {number} has shape {source.shape}')
        target = np.zeros((len(origin), *expected), np.float32)
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
    memories, pointers = targets
    return memory, memories, pointers
