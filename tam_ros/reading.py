# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The boundary around everything that reads bytes from outside.

A damaged or hostile file makes libraries raise nearly any exception. Each reader therefore runs
inside `reading` or `failing_as`, which turn what is raised there into the reader's own error. What
leaves a reader in any other form is a bug, which the tests in `test/fuzz` look for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tam_ros.printable import one_line
from tam_ros.regular_file import UnsuitableFileError

_MAX_MESSAGE = 2000  # characters; messages may list the topics of a bag
_MAX_REASON = 200


class InputError(Exception):
    """Something from outside cannot be used; its message is one printable line."""

    def __init__(self, message: str = '') -> None:
        """Take the message, which may repeat what came from outside."""
        super().__init__(one_line(message, _MAX_MESSAGE))


@contextmanager
def reading(
    path: str | Path,
    failure: type[InputError],
    what: str,
    *,
    folders: bool = False,
    advice: str = '',
) -> Iterator[None]:
    """Read a file whose content is not trusted.

    It is also used around a loop that yields: what is raised by the consumer of a generator does
    not pass through it.

    Args:
        path: the file; it must be a regular one, since a pipe waits and a device has no end.
        failure: the error of the reader. It passes, as its message names the file already.
        what: what the file should be, for the message: `a mask`.
        folders: whether it may be a folder.
        advice: what to do, at the end of the message.

    Raises:
        InputError: `failure`; whatever went wrong in the block.
    """
    with failing_as(failure, f'{path} cannot be read as {what}', advice):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            raise failure(f'{path} does not exist') from None
        if not (stat.S_ISREG(mode) or (folders and stat.S_ISDIR(mode))):
            raise UnsuitableFileError('it is not a regular file')
        yield


@contextmanager
def failing_as(failure: type[InputError], problem: str, advice: str = '') -> Iterator[None]:
    """Turn whatever the block raises into `failure`, which says the problem and the reason."""
    try:
        yield
    except failure:
        raise
    except Exception as error:  # see above: nearly any
        end = f'; {advice}' if advice else ''
        raise failure(f'{problem}: {reason(error)}{end}') from error


def reason(error: BaseException) -> str:
    """Return what an exception says, as one printable line without the advice of libraries."""
    if isinstance(error, MemoryError):
        return 'there is not enough memory for what it announces'
    if isinstance(error, RecursionError):
        return 'it is nested too deeply'
    if isinstance(error, (EOFError, StopIteration)):
        return 'it ends too early'
    if isinstance(error, KeyError):
        return one_line(f'{error} is missing', _MAX_REASON)
    if isinstance(error, OSError) and error.errno and error.strerror:
        return one_line(error.strerror, _MAX_REASON)
    return one_line(str(error), _MAX_REASON) or type(error).__name__
