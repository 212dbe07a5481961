# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opens bags of every kind and reports what is wrong with them as `SourceError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from tam_ros.io.frames import BAG_SUFFIXES, SourceError

if TYPE_CHECKING:
    from tam_ros.io.mcap_salvage import SalvagedMcap

    Reader = AnyReader | SalvagedMcap

_REPAIR = {
    '.bag': '; `rosbag reindex` may restore it',
    '.db3': '; `sqlite3 OLD.db3 .recover | sqlite3 NEW.db3` may recover the rest',
}


@contextmanager
def open_bag(path: Path) -> Iterator[Reader]:
    """Open a bag. Of a truncated MCAP file, everything before the damage can be read.

    Args:
        path: the `.bag`, `.mcap` or `.db3` file, or the folder that contains it.

    Raises:
        SourceError: not a bag, or a damaged one; also raised when reading reaches the damage.
    """
    if not path.exists():
        raise SourceError(f'{path} does not exist')
    try:
        reader = _open(_bag_file(path))
        try:
            yield reader
        finally:
            reader.close()
    except (SourceError, GeneratorExit):
        raise
    except Exception as error:  # a damaged file can cause many kinds of error
        detail = str(error) or type(error).__name__
        advice = _REPAIR.get(path.suffix, '')
        raise SourceError(
            f'{path} cannot be read as a bag, it is damaged: {detail}{advice}'
        ) from error


def _bag_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in BAG_SUFFIXES)


def _bag_file(path: Path) -> Path:
    """Return the path to open: of a folder without `metadata.yaml`, the only bag file in it."""
    if not path.is_dir() or (path / 'metadata.yaml').exists():
        return path
    files = _bag_files(path)
    if len(files) != 1:
        raise SourceError(
            f'{path} has no metadata.yaml, probably because the recorder was killed: '
            f'run `ros2 bag reindex {path}`, or choose one of its {len(files)} files'
        )
    return files[0]


def _open(path: Path) -> Reader:
    # The default type store is for bags without message definitions, such as early SQLite ones.
    reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
    try:
        reader.open()
    except Exception:
        salvaged = _salvage(path)
        if salvaged is None:
            raise
        return salvaged
    return reader


def _salvage(path: Path) -> SalvagedMcap | None:
    """Return a reader of the undamaged part of an MCAP file, or None if there is none."""
    files = _bag_files(path) if path.is_dir() else [path]
    if len(files) != 1 or files[0].suffix != '.mcap':
        return None
    try:
        from tam_ros.io.mcap_salvage import SalvagedMcap
    except ModuleNotFoundError as error:
        raise SourceError(
            f'{path} has no index: it is damaged, or its recorder was killed. Its messages can '
            f'be read with the package {error.name}: pip install mcap'
        ) from error
    salvaged = SalvagedMcap(files[0])
    return salvaged if salvaged.damaged and salvaged.message_count else None
