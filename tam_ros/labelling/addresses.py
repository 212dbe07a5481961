# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recordings that are not on local disks, by the addresses of fsspec: `s3://bucket/drive.mcap`.

fsspec is imported where an address is used; protocols need packages of their own, such as `s3fs`.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tam_ros.reading import InputError, failing_as, reason


class AddressError(InputError, OSError):
    """An address cannot be used; the message says why."""


def is_address(text: str) -> bool:
    """Return whether a text is an address and not a path of this machine."""
    return re.match(r'[A-Za-z][A-Za-z0-9+.-]*://', text) is not None


def expand(address: str) -> list[str]:
    """Return the addresses that a pattern matches; empty if there are none.

    Raises:
        AddressError: it cannot be reached, or its protocol needs a package that is missing.
    """
    with failing_as(AddressError, f'{address} cannot be listed'):
        system, path = _open(address)
        return [system.unstrip_protocol(one) for one in sorted(system.glob(path))]


def fetch(address: str, folder: Path) -> Path:
    """Copy a file or folder into a local folder; return where it is.

    Raises:
        AddressError: it cannot be copied.
    """
    with failing_as(AddressError, f'{address} cannot be fetched'):
        system, path = _open(address)
        target = folder / path.rstrip('/').rpartition('/')[2]
        system.get(path, str(target), recursive=system.isdir(path))
        return target


def version_of(address: str) -> str:
    """Return a text that changes when the file or folder changes.

    Raises:
        AddressError: it cannot be reached.
    """
    with failing_as(AddressError, f'{address} cannot be read'):
        system, path = _open(address)
        files = sorted(system.find(path)) if system.isdir(path) else [path]
        versions = [[one.removeprefix(path), str(system.ukey(one))] for one in files]
        return hashlib.sha256(json.dumps(versions).encode()).hexdigest()


def _open(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise AddressError(
            f'{address} needs the package fsspec: pip install fsspec, and the package of its '
            'protocol, such as s3fs'
        ) from error
    try:
        system, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise AddressError(f'{address} cannot be opened: {reason(error)}') from error
    return system, str(path)
