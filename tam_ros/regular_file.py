# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Files that others name: only regular files are opened, and none that is larger than expected.

Reading a pipe waits for whoever writes it, and a device such as /dev/zero has no end.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO


class UnsuitableFileError(OSError):
    """A pipe, a device, a folder, or a file that is too large; the message gives the path."""


def resolve_inside(path: str | Path, folder: str | Path) -> Path:
    """Return a file or folder without the links that lead to it; it must be in a certain folder.

    Args:
        path: the file or folder, also relative or with `~`. What a folder contains must not be a
            link that leads out either.
        folder: where it must be.

    Raises:
        UnsuitableFileError: it is elsewhere, or something that it contains.
        OSError: the folder cannot be listed.
    """
    root = os.path.realpath(folder)
    found = Path(os.path.realpath(os.path.expanduser(path)))
    for one in (found, *(found.iterdir() if found.is_dir() else ())):
        if not Path(os.path.realpath(one)).is_relative_to(root):
            raise UnsuitableFileError(f'{str(one)!r} is not in {root}')
    return found


def open_regular(path: str | Path, limit: int) -> BinaryIO:
    """Open a regular file for reading.

    The open file is checked, not its path; opening a pipe does not wait for its writer.

    Args:
        path: the file, or a link to it.
        limit: largest size, bytes.

    Raises:
        UnsuitableFileError: it is not a regular file, or larger than the limit.
        OSError: it cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening some devices has an effect
        raise UnsuitableFileError(f'{path} is not a regular file')
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UnsuitableFileError(f'{path} is not a regular file')
    if status.st_size > limit:
        os.close(descriptor)
        raise UnsuitableFileError(
            f'{path} has {status.st_size} bytes; files of this kind have at most {limit}'
        )
    return os.fdopen(descriptor, 'rb')


def read_regular(path: str | Path, limit: int) -> bytes:
    """Read a regular file; arguments and errors as for `open_regular`."""
    with open_regular(path, limit) as file:
        return file.read(limit)


def sha256(path: Path, limit: int) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal; errors as for `open_regular`."""
    digest = hashlib.sha256()
    with open_regular(path, limit) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
