# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam`: models, weights and recordings from the command line."""

from __future__ import annotations

import argparse
import io
import logging
import sys

from tam_ros import __version__, catalogue
from tam_ros.commands import (
    UsageError,
    bench,
    build,
    check,
    engines,
    evaluate,
    export,
    models,
    track,
    weights,
)

_COMMANDS = (track, evaluate, bench, models, weights, export, build, engines, check)

_warnings = logging.StreamHandler()
_warnings.setFormatter(logging.Formatter('tam: %(message)s'))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status; it is 2 if the input cannot be used."""
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
    return 0


def _text(error: Exception) -> str:
    """Return the message of an error; that of the system as the path and the reason."""
    if isinstance(error, OSError) and error.errno:
        return ': '.join(str(part) for part in (error.filename, error.strerror) if part)
    return str(error)


def _show_warnings() -> None:
    """Print our warnings, not those of libraries, to stderr in the form of our errors."""
    _warnings.stream = sys.stderr
    logging.getLogger('tam_ros').addHandler(_warnings)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors whose message is for the user. Imported only when an error occurs."""
    from tam_ros.io.frames import SourceError
    from tam_ros.io.mask_files import MaskFileError
    from tam_ros.model_files import WeightsError
    from tam_ros.prompting.prompt_text import PromptSpecError
    from tam_ros.runtime.base import EngineError
    from tam_ros.tracking import FrameError, PromptError, SavedTracksError

    return (
        *(UsageError, SourceError, PromptSpecError, MaskFileError, PromptError, FrameError),
        *(SavedTracksError, WeightsError, EngineError, OSError),
        *(catalogue.UnknownModelError, catalogue.CatalogueError),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tam', description=__doc__)
    parser.add_argument('--version', action='version', version=f'tam_ros {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == '__main__':
    sys.exit(main())
