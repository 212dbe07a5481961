# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which files a bag consists of, and of which kind they are: told by content, not by name.

Files are renamed, lose their suffix or get it in upper case; a folder is called `run.bag`; macOS
puts a file `._NAME` beside every NAME on disks of other systems; `metadata.yaml` is the name of
many things.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

METADATA = 'metadata.yaml'
_METADATA_KEY = b'rosbag2_bagfile_information'


ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class BagKind(Enum):
    """Kinds of files with messages; the value is the suffix that they usually have."""

    ROS1 = '.bag'
    MCAP = '.mcap'
    SQLITE = '.db3'


# http://wiki.ros.org/Bags/Format, https://mcap.dev/spec and https://www.sqlite.org/fileformat.html
_MAGIC = {
    b'#ROSBAG V': BagKind.ROS1,
    b'\x89MCAP0\r\n': BagKind.MCAP,
    b'SQLite format 3\0': BagKind.SQLITE,
}


def bag_kind(path: Path) -> BagKind | None:
    """Return the kind of a file by its first bytes, or None."""
    head = _head(path, max(map(len, _MAGIC)))
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def named_like_bag(path: Path) -> BagKind | None:
    """Return the kind that the suffix promises: the start of a damaged file may be wrong."""
    if path.name.startswith('._'):
        return None
    return next((kind for kind in BagKind if kind.value == path.suffix.lower()), None)


def bag_files(folder: Path) -> list[Path]:
    """Return the files of a folder that contain messages, in natural order."""
    return sorted(
        (file for file in folder.iterdir() if file.is_file() and bag_kind(file) is not None),
        key=natural_key,
    )


def has_metadata(folder: Path) -> bool:
    """Return whether a folder has a `metadata.yaml` that rosbag2 wrote."""
    file = folder / METADATA
    return file.is_file() and _METADATA_KEY in _head(file, 2**16)


def natural_key(file: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that compares runs of digits by value and the rest as text."""
    parts = re.findall(r'\d+|\D+', file.name)
    return [(0, int(part), '') if part.isdecimal() else (1, 0, part) for part in parts]


def recordings(files: list[Path]) -> set[str]:
    """Return the names of the recordings of files: rosbag2 splits one into `NAME_0`, `NAME_1`."""
    return {re.sub(r'_\d+$', '', file.stem) for file in files}


def _head(path: Path, size: int) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(size)
    except OSError:
        return b''
