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
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tam_ros.checked_fields import check_types
from tam_ros.model_files import TrackerSpec
from tam_ros.new_output import NewOutput, OutputError
from tam_ros.reading import InputError, reading, reason
from tam_ros.regular_file import open_regular
from tam_ros.runtime.base import Floats
from tam_ros.tracking.bank import BankShape, Entry, MemoryBank
from tam_ros.tracking.frame_pipeline import FramePipeline
from tam_ros.tracking.objects import ObjectMemory, ObjectTable
from tam_ros.tracking.prompts import MAX_ID

FORMAT = 1
MAX_BYTES = 1 << 31
"""Largest file that is read."""

_MAX_ABOUT = 1 << 24  # bytes of the description, which lists up to 65,535 ids
_MAX_SLOTS = 512  # of an object, unless this run keeps more
_MAX_INDEX = 1 << 53  # of an image; larger ones are not exact in other programs that read JSON
_MAX_SIDE = 1 << 16  # of an image, pixels


class SavedTracksError(InputError, ValueError):
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
            raise OutputError(f'{path} cannot be written: {reason(error)}') from error
        output.publish()


def read_tracks(
    path: Path, spec: TrackerSpec, pipeline: FramePipeline, max_objects: int
) -> SavedTracks:
    """Read a file and write its memories to the storage, whose contents are overwritten.

    Raises:
        SavedTracksError: the file is damaged, or not for this model and these options. The
            storage is unchanged then.
    """
    with reading(path, SavedTracksError, 'a file of tracks'):
        with open_regular(path, MAX_BYTES) as file:
            sizes = _sizes(file)
            about = _read_about(file, sizes)
            if about['format'] != FORMAT:
                raise SavedTracksError(
                    f'{path} has format {str(about["format"])[:20]}; this version reads {FORMAT}'
                )
            if (about['model'], about['fingerprint']) != (spec.name, spec.fingerprint):
                raise SavedTracksError(
                    f'{path} has memories of {str(about["model"])[:100]} with weights '
                    f'{str(about["fingerprint"])[:100]}, which {spec.name} with weights '
                    f'{spec.fingerprint} cannot use'
                )
            if len(about['objects']) > max_objects:
                raise SavedTracksError(
                    f'{path} contains {len(about["objects"])} objects; max_objects is '
                    f'{max_objects}'
                )
            _check_members(about, sizes)
            arrays = _read_arrays(file, spec, about, pipeline.shape)
        loaded = [
            _object(row, values, arrays, spec, pipeline.shape)
            for row, values in enumerate(about['objects'])
        ]
        table = ObjectTable(max_objects, used=_used(about))
        tracks = SavedTracks(
            _whole(about, 'index'), _finite(about, 'seconds'), _size(about), table
        )
    for memory, memories, pointers in loaded:
        pipeline.write_row(memory.row, memories, pointers)
        table.add(memory)
    return tracks


def _sizes(file: BinaryIO) -> dict[str, int]:
    """Return the size of each array when unpacked, bytes; refuses an archive of another kind."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    sizes = {member.filename.removesuffix('.npy'): member.file_size for member in members}
    if len(sizes) != len(members) or not all(m.filename.endswith('.npy') for m in members):
        raise ValueError('not an archive of numpy')
    return sizes


def _read_about(file: BinaryIO, sizes: dict[str, int]) -> dict[str, Any]:
    if sizes['about'] > _MAX_ABOUT:
        raise ValueError(f'its description has {sizes["about"]} bytes')
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        text = _read_array(archive, 'about', lambda shape, kind: shape == () and kind == 'U')
    about = json.loads(str(text))
    if not isinstance(about, dict) or not isinstance(about['objects'], list):
        raise ValueError('its description is of another kind')
    return about


def _check_members(about: dict[str, Any], sizes: dict[str, int]) -> None:
    numbers = [_id(values['id']) for values in about['objects']]
    expected = {'about'}
    for number in numbers:
        expected |= {f'memories_{number}', f'pointers_{number}'}
    if len(set(numbers)) != len(numbers):
        raise ValueError('an object occurs twice')
    if sizes.keys() != expected:
        raise ValueError('its arrays are not those of its objects')


def _read_arrays(
    file: BinaryIO, spec: TrackerSpec, about: dict[str, Any], shape: BankShape
) -> dict[str, NDArray[Any]]:
    """Read the arrays of all objects, whose shapes are known before they are unpacked."""
    arrays = {}
    limit = max(_MAX_SLOTS, shape.memory_slots, shape.pointer_slots)
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        for values in about['objects']:
            for name, tail, kind in (
                ('memories', (spec.memory_tokens, spec.memory_dim), 'u'),
                ('pointers', (spec.dim,), 'f'),
            ):
                slots = values['bank'][name]
                if not isinstance(slots, list):
                    raise ValueError(f'the {name} of an object are of another kind')
                if len(slots) > limit:
                    raise ValueError(f'an object has {len(slots)} {name}; {limit} are read')
                key, wanted = f'{name}_{values["id"]}', (len(slots), *tail)
                arrays[key] = _read_array(
                    archive,
                    key,
                    lambda shape, found, wanted=wanted, kind=kind: (  # type: ignore[misc]
                        shape == wanted and found == kind
                    ),
                )
    return arrays


def _read_array(
    archive: zipfile.ZipFile, name: str, fits: Callable[[tuple[int, ...], str], bool]
) -> NDArray[Any]:
    """Read one array; its header is read first, and nothing is unpacked unless it `fits`."""
    with archive.open(f'{name}.npy') as member:
        version = npy.read_magic(member)
        if version != (1, 0):
            raise ValueError(f'the array {name} has another version of the format')
        shape, _, dtype = npy.read_array_header_1_0(member)
        if not fits(shape, dtype.kind) or dtype.itemsize > _MAX_ABOUT:
            raise ValueError(f'the array {name} has shape {str(shape)[:60]} and type {dtype.kind}')
    with archive.open(f'{name}.npy') as member:
        return npy.read_array(member, allow_pickle=False)


def _id(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_ID:
        raise ValueError(f'{repr(value)[:40]} is not an object id')
    return value


def _used(about: dict[str, Any]) -> set[int]:
    used = {_id(value) for value in about['used']}
    if not used.issuperset(values['id'] for values in about['objects']):
        raise ValueError('the id of an object is not among those that were used')
    return used


def _whole(values: dict[str, Any], name: str) -> int:
    value = values[name]
    if type(value) is not int or not 0 <= value < _MAX_INDEX:
        raise ValueError(f'{name} is {repr(value)[:40]}')
    return value


def _finite(values: dict[str, Any], name: str) -> float:
    value = values[name]
    if type(value) not in (int, float) or not -_MAX_INDEX < value < _MAX_INDEX:
        raise ValueError(f'{name} is {repr(value)[:40]}')
    return float(value)


def _size(about: dict[str, Any]) -> tuple[int, int] | None:
    if about['size'] is None:
        return None
    height, width = about['size']
    if not all(type(side) is int and 1 <= side < _MAX_SIDE for side in (height, width)):
        raise ValueError(f'the size of the images is {str(about["size"])[:40]}')
    return height, width


def _object(
    row: int,
    values: dict[str, Any],
    arrays: dict[str, Any],
    spec: TrackerSpec,
    shape: BankShape,
) -> tuple[ObjectMemory, Floats, Floats]:
    """Read one object; its memories may move to other slots, as `shape` may differ."""
    number = _id(values['id'])
    _check_bank(values['bank'])
    bank, *origins = MemoryBank.from_json(values['bank'], shape)
    halves = arrays[f'memories_{number}'].astype(np.uint32) << 16
    sources = halves.view(np.float32), arrays[f'pointers_{number}'].astype(np.float32)
    if not all(np.isfinite(source).all() for source in sources):
        raise ValueError(f'the memories of object {number} contain numbers that are not finite')
    targets = []
    for origin, source, expected in zip(
        origins, sources, ((spec.memory_tokens, spec.memory_dim), (spec.dim,)), strict=True
    ):
        target = np.zeros((len(origin), *expected), np.float32)
        filled = np.flatnonzero(np.array(origin) >= 0)
        target[filled] = source[np.array(origin)[filled]]
        targets.append(target)
    memory = ObjectMemory(
        number,
        row,
        bank,
        _whole(values, 'born_index'),
        _finite(values, 'born_at'),
        _finite(values, 'seen_at'),
    )
    memories, pointers = targets
    return memory, memories, pointers


def _check_bank(bank: dict[str, Any]) -> None:
    """Check the frames and times of the entries, see `tam_ros.tracking.bank.Entry`."""
    for entry in (*bank['memories'], *bank['pointers']):
        if entry is not None:
            check_types(Entry(**entry))
            for name in ('frame', 'time'):
                if not -_MAX_INDEX < entry[name] < _MAX_INDEX:
                    raise ValueError(f'{name} is {repr(entry[name])[:40]}')
