# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Asks before a write whether the disk has room for it.

A format that keeps its index at the end (MCAP, MP4, JSON) is unreadable if the disk is full when
it is to be finished. So the room for the end is asked for before every piece: a recording that
does not fit ends earlier, with an error, and is complete up to there.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def ensure_room(path: Path, size: int) -> None:
    """Find out whether a file can grow.

    The bytes are allocated and given back at once, because only that sees quotas and limits on the
    size of files as well as a full disk.

    Args:
        path: of the file, which exists.
        size: bytes that are to fit behind its present end.

    Raises:
        OSError: they do not fit; or the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        end = os.fstat(descriptor).st_size
        try:
            os.posix_fallocate(descriptor, end, size)
        except OSError as error:
            if error.errno in _FULL:
                raise
            _ask_the_disk(descriptor, size)  # a file system that cannot allocate
        finally:
            os.ftruncate(descriptor, end)
    finally:
        os.close(descriptor)


def _ask_the_disk(descriptor: int, size: int) -> None:
    disk = os.fstatvfs(descriptor)
    if disk.f_bavail * disk.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
