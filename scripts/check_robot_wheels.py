#!/usr/bin/env python3
# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Check that a wheel for the Jetson exists of everything it installs with pip.

    python scripts/check_robot_wheels.py [--python 3.10 3.12] [--doc docs/jetson.md]

Downloads, for aarch64 and each Python, the packages of requirements-robot.txt and requirements.txt
with their dependencies, as wheels only, into a temporary folder. pip evaluates the conditions of
dependencies (`; python_version < "3.11"`) for the Python that it runs in; here they are evaluated
for the robot's Python, until nothing is missing.

Packages from other sources are left out: ROS and TensorRT come from apt, pycuda is built on the
robot.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ('requirements-robot.txt', 'requirements.txt')
# Of JetPack 6 (Humble) and 7 (Jazzy).
PYTHONS = ('3.10', '3.12')
# As pip chooses, and for apt's OpenCV and cv_bridge, which need NumPy 1 (docs/jetson.md).
EXTRA_REQUIREMENTS = ((), ('numpy<2',))
# glibc of Ubuntu 22.04 is 2.35: older tags can be installed as well.
PLATFORMS = (
    'manylinux_2_28_aarch64',
    'manylinux_2_27_aarch64',
    'manylinux_2_17_aarch64',
    'manylinux2014_aarch64',
)
SOURCE_ONLY = 'pycuda'
UNREACHABLE = ('connection', 'timed out', 'temporary failure', 'name or service', 'proxy')
NO_INDEX = 3  # exit status: no package index answers


class MissingError(RuntimeError):
    """pip found no set of wheels; the message is its own."""


class UnreachableError(RuntimeError):
    """No package index answers."""


def environment(python: str) -> dict[str, str]:
    """Return the variables in conditions of dependencies, with the values of the robot."""
    return {
        'python_version': python,
        'python_full_version': f'{python}.12',
        'implementation_name': 'cpython',
        'platform_python_implementation': 'CPython',
        'platform_machine': 'aarch64',
        'platform_system': 'Linux',
        'sys_platform': 'linux',
        'os_name': 'posix',
        'extra': '',
    }


def dependencies(wheel: Path, python: str) -> list[Requirement]:
    """Return the requirements of a wheel on the robot."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(
            name
            for name in archive.namelist()
            if name.count('/') == 1 and name.endswith('.dist-info/METADATA')
        )
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    wanted = map(Requirement, metadata.get_all('Requires-Dist', []))
    return [
        one for one in wanted if one.marker is None or one.marker.evaluate(environment(python))
    ]


def required(file: Path, python: str) -> list[str]:
    """Return the lines of a requirements file that count on the robot, without conditions."""
    lines = [line for line in file.read_text().splitlines() if line and line[0] != '#']
    wanted = [Requirement(line) for line in lines]
    return [
        f'{one.name}{one.specifier}'
        for one in wanted
        if one.marker is None or one.marker.evaluate(environment(python))
    ]


def missing(wheels: Iterable[Path], python: str) -> list[str]:
    """Return the requirements of some wheels that none of them meets."""
    wheels = list(wheels)
    available = {
        name: version
        for name, version, *_ in (parse_wheel_filename(wheel.name) for wheel in wheels)
    }
    lacking = set()
    for wheel in wheels:
        for wanted in dependencies(wheel, python):
            version = available.get(canonicalize_name(wanted.name))
            if version is None or not wanted.specifier.contains(version, prereleases=True):
                lacking.add(f'{wanted.name}{wanted.specifier}')
    return sorted(lacking)


def download(arguments: Sequence[str], python: str, folder: Path) -> None:
    """Download wheels for the robot with pip.

    Raises:
        MissingError: there is none for one of them.
        UnreachableError: no index answers.
    """
    platforms = [word for platform in PLATFORMS for word in ('--platform', platform)]
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'download',
            '--quiet',
            '--disable-pip-version-check',
            '--only-binary=:all:',
            *platforms,
            '--python-version',
            python,
            '--implementation',
            'cp',
            '--dest',
            str(folder),
            *arguments,
        ],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith('ERROR')]
        if any(word in done.stderr.lower() for word in UNREACHABLE):
            raise UnreachableError(said[-1] if said else done.stderr)
        raise MissingError('\n'.join(said) or done.stderr)


def resolve(arguments: Sequence[str], python: str, folder: Path) -> list[Path]:
    """Download wheels and all their dependencies; see `download`."""
    more: list[str] = []
    while True:
        download([*arguments, *more], python, folder)
        wheels = sorted(folder.glob('*.whl'))
        lacking = missing(wheels, python)
        if not lacking:
            return wheels
        if set(lacking) <= set(more):
            raise MissingError(f'{", ".join(lacking)} cannot be met together with the rest')
        more = sorted({*more, *lacking})


def has_wheel(name: str, python: str) -> bool:
    """Whether there is any wheel of a package for the robot."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            download(['--no-deps', name], python, Path(folder))
        except MissingError:
            return False
    return True


def describe(python: str, extra: Sequence[str], wheels: list[Path]) -> list[str]:
    """Return a row of the table: Python, extra requirements, number, size, main versions."""
    versions = {
        str(name): version
        for name, version, *_ in (parse_wheel_filename(wheel.name) for wheel in wheels)
    }
    named = [
        f'{name} {versions[name]}'
        for name in ('numpy', 'opencv-python-headless', 'onnxruntime')
        if name in versions
    ]
    size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    return [
        python,
        f'`{", ".join(extra)}`' if extra else '',
        str(len(wheels)),
        f'{size:.0f} MB',
        ', '.join(named),
    ]


def main(argv: list[str] | None = None) -> int:
    """Print the table; the exit status is 1 if a wheel is missing, 3 without a package index."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--python', nargs='+', default=PYTHONS, metavar='VERSION')
    parser.add_argument('--requirements', nargs='+', default=REQUIREMENTS, metavar='FILE')
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    options = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    from benchmark.document import publish, table

    rows = []
    try:
        for python in options.python:
            # pip would evaluate their conditions for the Python that it runs in.
            files = [one for file in options.requirements for one in required(ROOT / file, python)]
            for extra in EXTRA_REQUIREMENTS:
                with tempfile.TemporaryDirectory() as folder:
                    wheels = resolve([*files, *extra], python, Path(folder))
                    rows.append(describe(python, extra, wheels))
            if has_wheel(SOURCE_ONLY, python):
                print(f'{SOURCE_ONLY} has a wheel now: docs/jetson.md no longer has to build it')
    except UnreachableError as error:
        print(f'no package index can be reached: {error}', file=sys.stderr)
        return NO_INDEX
    except MissingError as error:
        print(f'Python {python}, aarch64: {error}', file=sys.stderr)
        return 1
    heads = ['Python', 'with', 'wheels', 'total size', 'including']
    publish(table(heads, rows), 'wheels', options.doc)
    return 0


if __name__ == '__main__':
    sys.exit(main())
