# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How the set-up runs its steps: interruptible commands, stamps, one set-up at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DISTRO = 'jazzy'
DISTRO = os.environ.get('TAM_ROS_DISTRO') or DEFAULT_DISTRO
# Each distribution has a virtual environment and a build of the messages; env.sh names them, too.
SUFFIX = '' if DISTRO == DEFAULT_DISTRO else f'-{DISTRO}'
VENV = ROOT / f'.venv{SUFFIX}'
VENV_PYTHON = VENV / 'bin' / 'python'
BUILD = ROOT / 'build'
LOG = BUILD / 'setup.log'

# The set-up must not see another ROS, Python or virtual environment of the calling shell.
FOREIGN_VARIABLES = (
    'AMENT_PREFIX_PATH',
    'CMAKE_PREFIX_PATH',
    'COLCON_PREFIX_PATH',
    'LD_LIBRARY_PATH',
    'PYTHONHOME',
    'PYTHONPATH',
    'ROS_DISTRO',
    'VIRTUAL_ENV',
    '_ROS_WHEELS_BOOTSTRAP_COMPLETE',
)


# Received signals that ask to stop. They are handled between two commands and while one runs, so
# that no command is left running.
interrupts: list[int] = []


class SetupError(Exception):
    """A problem that the user has to fix; the message says how."""


class InterruptedSetup(Exception):  # noqa: N818 - nothing went wrong
    """The user wants to stop."""


class Stamp:
    """A file with a digest of the inputs of a step."""

    def __init__(self, path: Path, inputs: Iterable[str | Path]) -> None:
        """Compute the digest of `inputs`: strings as they are, paths by name and content."""
        self._path = path
        digest = hashlib.sha256()
        for item in inputs:
            digest.update(str(item).encode() + b'\0')
            if isinstance(item, Path):
                digest.update(hashlib.sha256(item.read_bytes()).digest())
        self._digest = digest.hexdigest()

    def is_current(self) -> bool:
        """Return whether the step was finished with these inputs."""
        try:
            return self._path.read_text() == self._digest
        except OSError:
            return False

    def write(self) -> None:
        """Mark the step as finished. The file is replaced as a whole, so never half written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(self._path.name + '.draft')
        draft.write_text(self._digest)
        draft.replace(self._path)


class Runner:
    """Runs commands: output to `build/setup.log`, one line each on the terminal."""

    def __init__(self, lock: int) -> None:
        """Pass `lock`, a file descriptor, on to every command; the last one to end releases it."""
        self._lock = lock

    def pip(self, what: str, *arguments: str | Path) -> None:
        """Install packages into `.venv`."""
        command = [VENV_PYTHON, '-m', 'pip', 'install', '--disable-pip-version-check', *arguments]
        hint = 'Is the package index reachable?'
        self.run(what, [*command, '--progress-bar', 'off'], hint=hint)

    def run(
        self,
        what: str,
        command: Sequence[str | Path],
        extra: Mapping[str, str | Path] | None = None,
        hint: str = '',
    ) -> None:
        """Run one command to its end.

        Raises:
            SetupError: it failed; the text ends with the last lines it wrote.
        """
        if interrupts:
            raise InterruptedSetup
        begin = time.monotonic()
        with LOG.open('ab') as log:
            log.write(f'--- {what}\n'.encode())
            log.flush()
            start = log.tell()
            with subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean(extra),
                cwd=BUILD,
                pass_fds=(self._lock,),
                start_new_session=True,
            ) as process:
                status = self._wait(process, what, begin)
        if status:
            text = LOG.read_bytes()[start:].decode(errors='replace')
            tail = '\n'.join(f'    {line}' for line in text.splitlines()[-25:])
            raise SetupError(f'{what} failed; {LOG.relative_to(ROOT)} ends with\n{tail}\n{hint}')
        say(f'{what}: {time.monotonic() - begin:.0f} s', end='\n')

    @staticmethod
    def _wait(process: subprocess.Popen, what: str, begin: float) -> int:
        while True:
            say(f'{what} ... {time.monotonic() - begin:.0f} s')
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(0.2)
            if interrupts:
                break
        # The command is a process group of its own: the processes it started end with it.
        for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(patience)
        raise InterruptedSetup


def say(text: str, end: str = '') -> None:
    """Show progress: on a terminal one line that is rewritten, elsewhere only finished steps."""
    if sys.stdout.isatty():
        print(f'\r\033[Ksetup: {text}', end=end, flush=True)
    elif end:
        print(f'setup: {text}', end=end, flush=True)


@contextlib.contextmanager
def exclusive() -> Iterator[int]:
    """Hold the lock that excludes a second set-up of this checkout; yield its file descriptor."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / '.setup.lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('setup: another set-up of this checkout is running; waiting for it', flush=True)
            wait_for_lock(lock)
        LOG.write_bytes(b'')
        yield lock.fileno()


def wait_for_lock(lock: TextIO) -> None:
    """Take the lock as soon as it is free."""
    while True:
        if interrupts:
            raise InterruptedSetup
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.2)


def clean(extra: Mapping[str, str | Path] | None = None) -> dict[str, str]:
    """Return the environment for commands, without another ROS or Python."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    kept['PATH'] = f'{VENV / "bin"}{os.pathsep}{kept.get("PATH", os.defpath)}'
    kept.update({name: str(value) for name, value in (extra or {}).items()})
    return kept
