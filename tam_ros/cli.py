# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam`: models, weights and recordings from the command line."""

from __future__ import annotations

import argparse
import io
import logging
import os
import platform
import sys
import tempfile
import traceback

from tam_ros import __version__
from tam_ros.cache import make_cache_folder
from tam_ros.commands import (
    UsageError,
    bench,
    build,
    check,
    detect,
    engines,
    evaluate,
    export,
    label,
    models,
    review,
    segment,
    track,
    weights,
    words,
)
from tam_ros.printable import one_line
from tam_ros.reading import InputError

DEBUG = 'TAM_DEBUG'
"""Environment variable: if set, the traceback of an internal error is printed as well."""

INTERNAL_ERROR = 70
"""Exit status after an error in tam itself."""

_MAX_TEXT = 2000  # characters of a message
_MAX_REASON = 300

_COMMANDS = (
    track,
    segment,
    detect,
    label,
    review,
    evaluate,
    bench,
    models,
    weights,
    words,
    export,
    build,
    engines,
    check,
)

_warnings = logging.StreamHandler()
_warnings.setFormatter(logging.Formatter('tam: %(message)s'))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status.

    It is 2 if the input cannot be used, 70 (EX_SOFTWARE of sysexits.h) for an error in tam itself,
    and 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == 'strict':
            # A name that the encoding of the terminal lacks is printed with escapes.
            stream.reconfigure(errors='backslashreplace')
    options = _parser().parse_args(arguments)
    _show_warnings()
    try:
        options.run(options)
    except KeyboardInterrupt:
        print('\ntam: interrupted; finished results are kept', file=sys.stderr)
        return 130
    except BrokenPipeError:  # for example `tam models | head -1`
        return 1
    except _expected_errors() as error:
        print(f'tam: {_text(error)}', file=sys.stderr)
        return 2
    except Exception as error:
        print(f'tam: {_internal_error(error)}', file=sys.stderr)
        return INTERNAL_ERROR
    return 0


def _text(error: Exception) -> str:
    """Return the message of an error; that of the system as the path and the reason."""
    text = str(error)
    if isinstance(error, OSError) and error.errno:
        text = ': '.join(str(part) for part in (error.filename, error.strerror) if part)
    return one_line(text, _MAX_TEXT)


def _internal_error(error: Exception) -> str:
    """Write the details of an error that nobody expected into a file; return what to print."""
    details = traceback.format_exc()
    if os.environ.get(DEBUG):
        print(details, file=sys.stderr)
    text = f'internal error: {one_line(f"{type(error).__name__}: {error}", _MAX_REASON)}'
    if isinstance(error, MemoryError):
        text = 'there is not enough memory'
    about = f'tam_ros {__version__}, Python {platform.python_version()}, {platform.platform()}'
    # In the cache as a user expects, or else where there is always room for a small file.
    for folder in (_log_folder, tempfile.gettempdir):
        try:
            with tempfile.NamedTemporaryFile(
                'w', prefix='tam_', suffix='.log', dir=folder(), delete=False, errors='replace'
            ) as file:
                file.write(f'{about}\n{sys.argv}\n\n{details}')
        except OSError:
            continue
        return f'{text}; the details are in {file.name}'
    return f'{text}; the details cannot be written, {DEBUG}=1 prints them'


def _log_folder() -> str:
    return str(make_cache_folder('logs'))


def _show_warnings() -> None:
    """Print our warnings, not those of libraries, to stderr in the form of our errors."""
    _warnings.stream = sys.stderr
    logging.getLogger('tam_ros').addHandler(_warnings)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors whose message is for the user. Imported only when an error occurs."""
    from tam_ros.runtime.base import EngineError
    from tam_ros.tracking import FrameError, PromptError

    return UsageError, InputError, PromptError, FrameError, EngineError, OSError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tam', description=__doc__)
    parser.add_argument('--version', action='version', version=f'tam_ros {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == '__main__':
    sys.exit(main())
