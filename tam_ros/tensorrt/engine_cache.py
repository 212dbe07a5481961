# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Plans on disk.

A plan is native code: whoever can write one runs what he likes as whoever loads it. So the folders
are the user's alone, and a plan is loaded only if it is his (or root's), nobody else may write it,
and its bytes are those that were written down when it was built; the bytes that were checked are
the ones that are loaded. The record beside a plan says what it belongs to. Plans of other machines
and versions stay beside each other, so that a home directory can be shared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from tam_ros import catalogue
from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.failures import BuildCancelledError
from tam_ros.tensorrt.identity import Identity

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UntrustedError(EngineError):
    """A file that somebody else could have written."""


@dataclass(frozen=True)
class Record:
    """What is written beside a plan.

    Attributes:
        identity: fields of its `Identity`.
        plan_sha256: of the plan.
        nbytes: of the plan.
        objects: most objects of a run.
        built_from: precision of the graph it was really built from.
        check: how it compared with the reference outputs, in words.
        note: why `built_from` is not the precision that was asked for, or nothing.
        seconds: that the build took.
        workspace_mb: that the builder was given; None: all it wanted.
        built_at: UTC, ISO 8601.
        tam_ros: version that built it.
    """

    identity: dict[str, str | int]
    plan_sha256: str
    nbytes: int
    objects: int
    built_from: str
    check: str
    note: str = ''
    seconds: float = 0.0
    workspace_mb: int | None = None
    built_at: str = field(
        default_factory=lambda: time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
    )
    tam_ros: str = ''


class Entry(NamedTuple):
    """One plan of the cache.

    Attributes:
        path: of the plan.
        record: None where there is none that can be read.
    """

    path: Path
    record: Record | None


class Found(NamedTuple):
    """What a search gives: a plan with its record, or why there is none.

    Attributes:
        plan: bytes, checked.
        record: of the plan.
        reason: one line, empty where there is a plan.
    """

    plan: bytes | None
    record: Record | None
    reason: str


class PlanCache:
    """The plans of one user on one machine, and what is kept beside them."""

    def __init__(self, root: Path | None = None) -> None:
        """Name the folder; nothing is made yet.

        Args:
            root: None: `engines` in the cache of the package.
        """
        self.root = root or catalogue.cache_dir() / 'engines'

    # --- finding ---

    def find(self, identity: Identity, objects: int | None = None) -> Found:
        """Look for a plan.

        Args:
            identity: all of it must fit.
            objects: that it must take at a go; None: any number.
        """
        path = self._path(identity)
        what = f'the engine of {identity.graph}'
        entry = self._entry(path)
        if not path.exists() or entry.record is None:
            return Found(None, None, self._why_not(identity))
        if entry.record.identity != identity.fields():
            return Found(None, None, f'{what} has a record of something else')
        if objects is not None and entry.record.objects != objects:
            return Found(
                None, None, f'{what} takes {entry.record.objects} objects at a go, not {objects}'
            )
        try:
            plan = self._read_checked(path, entry.record)
        except (OSError, EngineError) as error:
            return Found(None, None, f'{what} is not used: {error}')
        return Found(plan, entry.record, '')

    def _why_not(self, identity: Identity) -> str:
        """Say in what the plan that comes nearest is another."""
        others = [
            identity.differences(entry.record.identity)
            for entry in self.entries()
            if entry.record is not None
            and entry.record.identity.get('model') == identity.model
            and entry.record.identity.get('graph') == identity.graph
        ]
        if not others:
            return f'there is no engine of {identity.graph} for {identity.model} yet'
        return f'the engine of {identity.graph} is another: {"; ".join(min(others, key=len))}'

    def verify(self, entry: Entry) -> str:
        """Return what is wrong with an entry, or nothing."""
        if entry.record is None:
            return 'has no record that can be read'
        try:
            self._read_checked(entry.path, entry.record)
        except (OSError, EngineError) as error:
            return str(error)
        return ''

    def entries(self) -> list[Entry]:
        """Return all plans, by model and name."""
        return [self._entry(path) for path in sorted(self.root.glob('*/*.plan'))]

    def _entry(self, path: Path) -> Entry:
        try:
            record = Record(**json.loads(read_trusted(path.with_suffix('.json'))))
        except (OSError, ValueError, TypeError, EngineError):
            return Entry(path, None)
        return Entry(path, record)

    def _path(self, identity: Identity) -> Path:
        name = f'{identity.graph}-{identity.precision}-{identity.key()[:16]}.plan'
        return self.root / identity.model / name

    def _read_checked(self, path: Path, record: Record) -> bytes:
        for folder in (self.root, path.parent):
            _check_owner(os.lstat(folder), folder)
        plan = read_trusted(path)
        if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
            raise UntrustedError(f'{path.name} was changed since it was built')
        return plan

    # --- changing ---

    def save(self, identity: Identity, plan: bytes, **record: Any) -> Record:
        """Keep a plan, in place of an older one; `record`: the fields of `Record` left.

        The record is renamed into place last: a plan without one does not count.
        """
        path = self._path(identity)
        self.folder(path.parent)
        full = Record(identity.fields(), hashlib.sha256(plan).hexdigest(), len(plan), **record)
        path.with_suffix('.json').unlink(missing_ok=True)
        write_private(path, plan)
        write_private(path.with_suffix('.json'), json.dumps(asdict(full), indent=1).encode())
        return full

    def delete(self, entry: Entry) -> None:
        """Remove a plan and its record; a folder that is empty then, too."""
        entry.path.with_suffix('.json').unlink(missing_ok=True)
        entry.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            entry.path.parent.rmdir()

    def discard(self, identity: Identity) -> None:
        """Remove the plan of an identity."""
        self.delete(Entry(self._path(identity), None))

    def timings(self, machine_key: str) -> bytes:
        """Return what earlier builds on a machine measured, or nothing."""
        try:
            return read_trusted(self._timings(machine_key))
        except (OSError, UntrustedError):
            return b''

    def save_timings(self, machine_key: str, timings: bytes) -> None:
        """Keep what a build measured."""
        self.folder(self.root)
        write_private(self._timings(machine_key), timings)

    def _timings(self, machine_key: str) -> Path:
        return self.root / f'timings-{machine_key}.cache'

    def folder(self, path: Path) -> Path:
        """Make a folder below the root, and the root, for the user alone.

        Raises:
            UntrustedError: it is there and somebody else's.
        """
        for one in (self.root, path):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = os.lstat(one)
            if (
                status.st_uid == os.geteuid()
                and stat.S_IMODE(status.st_mode) != 0o700
                and stat.S_ISDIR(status.st_mode)
            ):
                one.chmod(0o700)
                status = os.lstat(one)
            _check_owner(status, one)
        return path

    @contextlib.contextmanager
    def locked(
        self,
        waiting: Callable[[], None] = lambda: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[None]:
        """Keep other processes from building at the same time.

        Args:
            waiting: called once if somebody else is building.
            cancelled: asked while waiting.

        Raises:
            BuildCancelledError: it said so.
        """
        self.folder(self.root)
        lock = FileLock(self.root / '.lock')
        told = False
        while True:
            if cancelled():
                raise BuildCancelledError('waiting for another build was cancelled')
            try:
                lock.acquire(timeout=0.5)
                break
            except Timeout:
                if not told:
                    waiting()
                    told = True
        try:
            yield
        finally:
            lock.release()


def _check_owner(status: os.stat_result, path: Path) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise UntrustedError(f'{path} belongs to somebody else (uid {status.st_uid})')
    if status.st_mode & OTHERS_MAY_WRITE:
        raise UntrustedError(f'others may write {path}; `chmod go-w` it if you trust it')


def read_trusted(path: Path) -> bytes:
    """Read a file that nobody but the user and root could have written.

    What is checked is the file that is read, not the name: no link is followed.

    Raises:
        OSError: it cannot be read, or is a link.
        UntrustedError: see above.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, 'rb') as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UntrustedError(f'{path} is no file')
        _check_owner(status, path)
        return file.read()


def write_private(path: Path, data: bytes) -> None:
    """Write a file for the user alone, all of it or nothing."""
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
