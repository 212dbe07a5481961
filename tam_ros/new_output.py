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
from tam_ros.reading import reason

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
                    prefix=f'{self.path.name[:_NAME_SHOWN]}.',
                    suffix='.partial',
                    dir=folder.absolute(),  # FFmpeg takes `http:/a.mp4` for an address
                )
            )
        except OSError as error:
            self.close()
            if isinstance(error, OutputError):
                raise
            raise OutputError(f'{self.path} cannot be written: {reason(error)}') from error
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
                f'{self.path} cannot be written: {reason(error)}; the results are in '
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


def write_file(path: str | Path, data: bytes) -> None:
    """Write a new file, completely or not at all.

    Raises:
        OutputError: the path exists, is being written by another run, or cannot be written.
    """
    with NewOutput(path) as output:
        try:
            output.partial.write_bytes(data)
        except OSError as error:
            raise OutputError(f'{path} cannot be written: {reason(error)}') from error
        output.publish()


class NewFolder(Closing):
    """A new folder of files, each of which is written completely or not at all.

    Use it as a context manager: the folder appears at the end, also after an exception.

    Attributes:
        error: what is raised if a file cannot be written.
    """

    error: type[OutputError] = OutputError

    def __init__(self, path: str | Path) -> None:
        """Create the folder.

        Raises:
            OutputError: it exists, or cannot be created.
        """
        self._path = Path(path)
        self._output: NewOutput | None = NewOutput(path)
        self._partial = self._output.partial
        try:
            self._partial.mkdir()
        except OSError as error:
            self._output.close()
            raise self.error(f'{self._path} cannot be created: {reason(error)}') from error

    def add_file(self, name: str, data: bytes) -> None:
        """Write a file, also completely or not at all if the disk is full.

        Raises:
            OutputError: of the class `error`: the name was used already, or the disk is full.
        """
        file = self._partial / name
        if file.exists():
            raise self.error(f'two frames are named {name!r}; the file is of the first')
        part = file.with_name(f'{name}.part')
        try:
            part.write_bytes(data)
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise self.error(f'{self._path / name} cannot be written: {reason(error)}') from error

    def close(self) -> None:
        """Move the folder to its path. Calling it again does nothing.

        Raises:
            OutputError: that is not possible.
        """
        if self._output is not None:
            output, self._output = self._output, None
            output.publish()

    def discard(self) -> None:
        """Remove what was written, in place of `close`."""
        if self._output is not None:
            self._output.close()
            self._output = None


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
