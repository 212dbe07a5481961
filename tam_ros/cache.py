# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The user's folder for what can be made again: downloads, exported graphs, engines.

Graphs and engines are code, and the folder may be shared or in a place that others can write. What
another user could have written is therefore not used.
"""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path

from tam_ros import reading

_REMEDY = 'set TAM_ROS_CACHE to a folder that can be written'
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class CacheError(OSError):
    """The cache cannot be used; the message names the folder and says what to do."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Describe what happened to a file or folder in the cache."""
        super().__init__(f'{path} cannot be written: {reading.reason(error)}; {_REMEDY}')


class UntrustedCacheError(CacheError):
    """Another user could have written something in the cache; the message says what to do."""

    def __init__(self, reason: str) -> None:
        """Take the reason from `why_untrusted`."""
        OSError.__init__(self, f'the cache is not used: {reason}')


class NoHomeError(OSError):
    """There is no place for the cache, as in a container whose user has no entry in passwd."""


def cache_dir() -> Path:
    """Return the folder, which need not exist.

    `TAM_ROS_CACHE` if set, else `tam_ros` in the XDG cache directory, else in that of the home
    directory.

    Raises:
        NoHomeError: neither is set, and the user has no home directory.
    """
    configured = os.environ.get('TAM_ROS_CACHE')
    if configured:
        return Path(configured)
    base = os.environ.get('XDG_CACHE_HOME')
    return (Path(base) if base else _home() / '.cache') / 'tam_ros'


def _home() -> Path:
    home = os.environ.get('HOME')
    if home:
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise NoHomeError(
            'there is no folder for downloads and exported graphs, because HOME is not set and '
            f'the user {os.getuid()} has no entry in passwd; {_REMEDY}'
        ) from None


def why_untrusted(status: os.stat_result, path: Path) -> str:
    """Return why somebody else than the user and root could have written a file, or nothing.

    Args:
        status: of the file or folder, not of what a link leads to.
        path: for the text.
    """
    if status.st_uid not in (os.geteuid(), 0):
        return (
            f'{path} belongs to another user (uid {status.st_uid}); remove it, or set '
            'TAM_ROS_CACHE to a folder of your own'
        )
    if status.st_mode & _OTHERS_MAY_WRITE:
        return f'other users may write {path}; if you trust it, run `chmod -R go-w` on it'
    return ''


def check_trusted(path: Path) -> None:
    """Check a file or folder in a folder of the cache, that folder, and everything below.

    Raises:
        UntrustedCacheError: somebody else than the user and root could have written one of them.
        OSError: one cannot be read.
    """
    for one in (path.parent, path, *path.rglob('*')):
        reason = why_untrusted(os.lstat(one), one)
        if reason:
            raise UntrustedCacheError(reason)


def take_write_access(path: Path) -> None:
    """Let only the owner write a file or a folder and everything below, whatever the umask is."""
    for one in (path, *path.rglob('*')):
        one.chmod(stat.S_IMODE(os.lstat(one).st_mode) & ~_OTHERS_MAY_WRITE)


def make_private(folder: Path) -> None:
    """Create a folder, and those above it that are missing, with access for the user alone.

    The mode of `Path.mkdir` does not hold for the folders above, which the usual umask of a user
    with a group of their own, 002, would let that group write.

    Raises:
        OSError: it cannot be created, or is a file.
    """
    for one in (*reversed(folder.parents), folder):
        if not os.path.exists(one):
            one.mkdir(0o700, exist_ok=True)


def make_cache_folder(name: str) -> Path:
    """Create a folder in the cache, unless it exists, and return it; only the owner may write it.

    A new one can be read by nobody else either.

    Raises:
        NoHomeError: see `cache_dir`.
        UntrustedCacheError: it belongs to another user, or is a link.
        CacheError: it cannot be created or written.
    """
    folder = cache_dir() / name
    try:
        make_private(folder)
        status = os.lstat(folder)
        if status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode):
            folder.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_MAY_WRITE)
        reason = why_untrusted(os.lstat(folder), folder)
        if reason:
            raise UntrustedCacheError(reason)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except UntrustedCacheError:
        raise
    except OSError as error:
        raise CacheError(folder, error) from error
    return folder
