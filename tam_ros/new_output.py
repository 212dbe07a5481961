# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear under their name when they are complete.

Every writer creates its file or folder through `NewOutput`. It is written under its own name in a
temporary folder beside its destination, whose name no other run has, and moved from there in one
step. A lock keeps two runs from writing the same output. Nothing is replaced or removed that this
run did not make.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tam_ros.closing import Closing

_NAME_SHOWN = 40  # characters of the output's name in that of the temporary folder


class OutputError(OSError):
    """An output cannot be written; the message gives the path and the reason."""


class NewOutput(Closing):
    """An output that is being written. Its writer fills `partial` and then calls `publish`.

    `close` without `publish` removes what was written. If the process is killed, it remains in the
    temporary folder, `NAME.XXXXXXXX.partial`.

    Attributes:
        path: where the output will be.
        partial: where to write it; does not exist at first.
    """

    def __init__(self, path: str | Path, *, replace: bool = False) -> None:
        """Reserve the name.

        Args:
            path: of the file or folder.
            replace: whether `publish` replaces an existing file.

        Raises:
            OutputError: the path exists, is being written by another run, or cannot be written.
        """
        self.path = Path(path)
        folder = self.path.parent
        if not folder.is_dir():
            raise OutputError(f'{self.path} cannot be written: {folder} is not a folder')
        self._replace = replace
        self._lock: _Lock | None = None
        self._folder: Path | None = None
        try:
            self._lock = _Lock(self.path)
            # Checked with the lock, as another run may have finished just now.
            if not replace and os.path.lexists(self.path):
                raise OutputError(f'{self.path} exists; choose another name or remove it')
            self._folder = Path(
                tempfile.mkdtemp(
                    prefix=f'{self.path.name[:_NAME_SHOWN]}.', suffix='.partial', dir=folder
                )
            )
        except OSError as error:
            self.close()
            if isinstance(error, OutputError):
                raise
            raise OutputError(f'{self.path} cannot be written: {_reason(error)}') from error
        self.partial = self._folder / self.path.name

    def publish(self) -> None:
        """Move the output to its path.

        Raises:
            OutputError: that is not possible; the output is kept where it is, which the message
                says.
        """
        folder, self._folder = self._folder, None
        try:
            if self._replace:
                self.partial.replace(self.path)
            else:
                _move(self.partial, self.path)
        except OSError as error:
            raise OutputError(
                f'{self.path} cannot be written: {_reason(error)}; the results are in '
                f'{self.partial}'
            ) from error
        else:
            self._folder = folder
        finally:
            self.close()

    def close(self) -> None:
        """Release the name; what was not published is removed. Calling it again does nothing."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class _Lock(Closing):
    """A lock of an output's name, by an empty file beside it; it ends with the process."""

    def __init__(self, path: Path) -> None:
        # The hash keeps the name short enough whatever the output is called.
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        self._path = path.with_name(f'.tam-{digest}.lock')
        while True:
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o666)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._file)
                raise OutputError(f'{path} is being written by another run') from error
            except OSError:  # no locks on this file system: only `publish` protects the other run
                return
            # The run that had the lock may have removed the file after it was opened here.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                    return
            os.close(self._file)

    def close(self) -> None:
        if os.fstat(self._file).st_size == 0:  # a file with contents is not ours
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def _move(source: Path, target: Path) -> None:
    """Move a file or folder; FileExistsError if the target exists."""
    if not source.is_dir():
        try:
            os.link(source, target)  # in contrast to a rename, this replaces nothing
        except FileExistsError:
            raise
        except OSError:  # no hard links on this file system
            pass
        else:
            source.unlink()
            return
    if os.path.lexists(target):
        raise FileExistsError(f'{target} was created by another program in the meantime')
    source.rename(target)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
