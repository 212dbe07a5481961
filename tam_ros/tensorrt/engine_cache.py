# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Engines on disk.

An engine is saved as a plan, TensorRT's name for a serialized engine. A plan is native code:
anyone who can write one can run code as the user who loads it. The folders are therefore private
to the user, and a plan is loaded only if it belongs to the user (or root), nobody else may write
it, and its bytes have the SHA-256 that was recorded when it was built. The bytes that were checked
are the bytes that are loaded. The record next to a plan says what it was built for. Engines of
different machines and versions are stored side by side, so a home directory can be shared.
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

from tam_ros.cache import CacheError, cache_dir, make_private, why_untrusted
from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.builder import BuildCancelledError
from tam_ros.tensorrt.identity import Identity


class UntrustedError(EngineError):
    """A file that another user could have written."""


@dataclass(frozen=True)
class EngineRecord:
    """The JSON file next to a plan; its keys are the names of these attributes.

    Attributes:
        identity: fields of its `Identity`.
        plan_sha256: SHA-256 of the plan.
        nbytes: size of the plan.
        objects: largest batch of a run.
        built_from: precision of the graph that the engine was built from.
        check: result of the comparison with the reference outputs, as text.
        note: why `built_from` is not the precision that was asked for, or empty.
        seconds: duration of the build.
        workspace_mb: limit of the builder's workspace; None: no limit.
        built_at: UTC, ISO 8601.
        tam_ros: version of this package that built it.
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


class CachedEngine(NamedTuple):
    """An engine in the cache.

    Attributes:
        path: path of the plan.
        record: None where it is missing or cannot be read.
    """

    path: Path
    record: EngineRecord | None


class CacheLookup(NamedTuple):
    """Result of a lookup: a plan with its record, or why there is none.

    Attributes:
        plan: bytes, verified; None where there is no usable engine.
        record: record of the plan.
        reason: one line, empty where there is a plan.
    """

    plan: bytes | None
    record: EngineRecord | None
    reason: str


class EngineCache:
    """The engines of one user, with their timing caches and reference outputs."""

    def __init__(self, root: Path | None = None) -> None:
        """Choose the folder; it is created when something is saved.

        Args:
            root: None: `engines` in the cache of the package.

        Raises:
            NoHomeError: see `cache_dir`.
        """
        self.root = root or cache_dir() / 'engines'

    # --- reading ---

    def find(self, identity: Identity, max_batch: int | None = None) -> CacheLookup:
        """Look an engine up.

        Args:
            identity: all of it must match.
            max_batch: the largest batch that the engine was built for; None: any.
        """
        path = self._path(identity)
        engine = f'the engine of {identity.graph}'
        record = self._entry(path).record
        if not path.exists() or record is None:
            return CacheLookup(None, None, self._why_missing(identity))
        if record.identity != identity.fields():
            return CacheLookup(None, None, f'the record of {engine} belongs to another engine')
        if max_batch is not None and record.objects != max_batch:
            return CacheLookup(
                None,
                None,
                f'{engine} was built for at most {record.objects} objects per run, '
                f'not {max_batch}',
            )
        try:
            plan = self._read_verified(path, record)
        except (OSError, EngineError) as error:
            return CacheLookup(None, None, f'{engine} is not used: {error}')
        return CacheLookup(plan, record, '')

    def _why_missing(self, identity: Identity) -> str:
        """Describe how the most similar engine differs."""
        others = [
            identity.differences(entry.record.identity)
            for entry in self.entries()
            if entry.record is not None
            and entry.record.identity.get('model') == identity.model
            and entry.record.identity.get('graph') == identity.graph
        ]
        if not others:
            return f'{identity.model} has no engine of {identity.graph} yet'
        nearest = min(others, key=len)
        return f'the engine of {identity.graph} does not match: {"; ".join(nearest)}'

    def verify(self, entry: CachedEngine) -> str:
        """Return why an engine would not be loaded, or nothing."""
        if entry.record is None:
            return 'has no readable record'
        try:
            self._read_verified(entry.path, entry.record)
        except (OSError, EngineError) as error:
            return str(error)
        return ''

    def entries(self) -> list[CachedEngine]:
        """Return all engines, by model and name."""
        return [self._entry(path) for path in sorted(self.root.glob('*/*.plan'))]

    def _entry(self, path: Path) -> CachedEngine:
        try:
            record = EngineRecord(**json.loads(read_trusted(path.with_suffix('.json'))))
        except (OSError, ValueError, TypeError, EngineError):
            return CachedEngine(path, None)
        return CachedEngine(path, record)

    def _path(self, identity: Identity) -> Path:
        name = f'{identity.graph}-{identity.precision}-{identity.key()[:16]}.plan'
        return self.root / identity.model / name

    def _read_verified(self, path: Path, record: EngineRecord) -> bytes:
        for folder in (self.root, path.parent):
            _check_owner(os.lstat(folder), folder)
        plan = read_trusted(path)
        if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
            raise UntrustedError(f'{path.name} was changed after it was built')
        return plan

    # --- writing ---

    def save(self, identity: Identity, plan: bytes, **record: Any) -> EngineRecord:
        """Save a plan, replacing an older one; `record`: the other fields of `EngineRecord`.

        The record is renamed into place last: a plan without a record is ignored.
        """
        path = self._path(identity)
        self.folder(path.parent)
        full = EngineRecord(
            identity.fields(), hashlib.sha256(plan).hexdigest(), len(plan), **record
        )
        path.with_suffix('.json').unlink(missing_ok=True)
        write_private(path, plan)
        write_private(path.with_suffix('.json'), json.dumps(asdict(full), indent=1).encode())
        return full

    def delete(self, entry: CachedEngine) -> None:
        """Remove an engine and its record, and its folder if that is empty then."""
        entry.path.with_suffix('.json').unlink(missing_ok=True)
        entry.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            entry.path.parent.rmdir()

    def discard(self, identity: Identity) -> None:
        """Remove the engine of an identity, if there is one."""
        self.delete(CachedEngine(self._path(identity), None))

    def timings(self, machine_key: str) -> bytes:
        """Return the timing cache of earlier builds on a machine, or nothing."""
        try:
            return read_trusted(self._timings(machine_key))
        except (OSError, UntrustedError):
            return b''

    def save_timings(self, machine_key: str, timings: bytes) -> None:
        """Save the timing cache of a build."""
        self.folder(self.root)
        write_private(self._timings(machine_key), timings)

    def _timings(self, machine_key: str) -> Path:
        return self.root / f'timings-{machine_key}.cache'

    def folder(self, path: Path) -> Path:
        """Create a folder below the root, and the root, with access for the user alone.

        Raises:
            UntrustedError: one of them belongs to another user.
            CacheError: one of them cannot be created.
        """
        for one in (self.root, path):
            try:
                make_private(one)
            except OSError as error:
                raise CacheError(one, error) from error
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
        """Exclude other processes that build.

        Args:
            waiting: called once if another process is building.
            cancelled: called repeatedly while waiting; True stops waiting.

        Raises:
            BuildCancelledError: `cancelled` returned True.
        """
        self.folder(self.root)
        lock = FileLock(self.root / '.lock')
        reported = False
        while True:
            if cancelled():
                raise BuildCancelledError('waiting for another build was cancelled')
            try:
                lock.acquire(timeout=0.5)
                break
            except Timeout:
                if not reported:
                    waiting()
                    reported = True
        try:
            yield
        finally:
            lock.release()


def _check_owner(status: os.stat_result, path: Path) -> None:
    reason = why_untrusted(status, path)
    if reason:
        raise UntrustedError(reason)


def read_trusted(path: Path) -> bytes:
    """Read a file that only the user and root could have written.

    The open file is checked, not its path, and links are not followed.

    Raises:
        OSError: it cannot be read, or is a link.
        UntrustedError: another user could have written it, or it is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, 'rb') as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UntrustedError(f'{path} is not a regular file')
        _check_owner(status, path)
        return file.read()


def write_private(path: Path, data: bytes) -> None:
    """Write a file with access for the user alone; after an error the old file is intact.

    Raises:
        CacheError: it cannot be written.
    """
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CacheError(path, error) from error
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
