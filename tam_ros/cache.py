# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The user's folder for what can be made again: downloads, exported graphs, engines."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

_REMEDY = 'set TAM_ROS_CACHE to a folder that can be written'


class CacheError(OSError):
    """The cache cannot be used; the message names the folder and says what to do."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Describe what happened to a file or folder in the cache."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(f'{path} cannot be written: {reason}; {_REMEDY}')


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


def make_cache_folder(name: str, mode: int = 0o777) -> Path:
    """Create a folder in the cache, unless it exists, and return it.

    Args:
        name: of the folder.
        mode: permissions of a new folder, further limited by the umask.

    Raises:
        NoHomeError: see `cache_dir`.
        CacheError: it cannot be created or written.
    """
    folder = cache_dir() / name
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CacheError(folder, error) from error
    return folder
