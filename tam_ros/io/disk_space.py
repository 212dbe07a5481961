# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Checks before a write that the disk has room for it.

A format with its index at the end (MCAP, MP4, JSON) is unreadable if the disk is full when the
index is written. The writers therefore check for room for the index before every write: if the
disk is too small, the recording ends earlier, with an error, and is complete up to there.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def ensure_room(path: Path, size: int) -> None:
    """Check that a file can grow.

    The bytes are allocated and released immediately, because this also detects quotas and limits
    on the size of files.

    Args:
        path: an existing file.
        size: number of bytes that have to fit after its current end.

    Raises:
        OSError: the bytes do not fit, or the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        end = os.fstat(descriptor).st_size
        try:
            os.posix_fallocate(descriptor, end, size)
        except OSError as error:
            if error.errno in _FULL:
                raise
            _check_free_space(descriptor, size)  # the file system does not support allocation
        finally:
            os.ftruncate(descriptor, end)
    finally:
        os.close(descriptor)


def _check_free_space(descriptor: int, size: int) -> None:
    disk = os.fstatvfs(descriptor)
    if disk.f_bavail * disk.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
