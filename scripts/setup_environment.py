# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Make `.venv` (Python packages, ROS 2 from wheels) and `build/ros` (our messages).

Run through `make setup`; for a distribution other than Jazzy, both have its name as a suffix. What
differs between the wheels of distributions is in requirements-ros-DISTRO.txt, and nowhere else.
Each step writes a stamp of its inputs and is skipped while they stay the same. An interrupted step
has no stamp and is repeated; a lock keeps two runs from interfering. Needs only the standard
library.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from setup_runner import (
    BUILD,
    DISTRO,
    ROOT,
    SUFFIX,
    VENV,
    VENV_PYTHON,
    InterruptedSetup,
    Runner,
    SetupError,
    Stamp,
    clean,
    exclusive,
    interrupts,
)

ROS_BUILD = BUILD / f'ros{SUFFIX}' / 'work'
ROS_INSTALL = BUILD / f'ros{SUFFIX}' / 'install'
ROS_REQUIREMENTS = ROOT / f'requirements-ros-{DISTRO}.txt'

TORCH = 'torch==2.13.0'
# Builds TensorRT engines without a GPU, for tests. The two wheels are complete; the package that
# has them as dependencies is left out because it would have to be compiled.
TENSORRT_RTX = ('tensorrt-rtx-cu13-libs==1.7.1.116', 'tensorrt-rtx-cu13-bindings==1.7.1.116')
# The extra `page` of pyproject.toml.
PAGE = ('aiohttp>=3.14,<4', 'segno>=1.5,<2')
MINIMUM_CMAKE = (3, 20)


def main() -> int:
    """Run the steps that are due; return the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument('--test', action='store_true', help='also what the test suite needs')
    arguments.add_argument('--page', action='store_true', help='also what the page needs')
    arguments.add_argument('--python-chosen', action='store_true', help=argparse.SUPPRESS)
    options = arguments.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: interrupts.append(received))
    try:
        check_platform()
        check_distro()
        with exclusive() as lock:
            runner = Runner(lock)
            make_venv(runner, exact_version=options.python_chosen)
            if not ROS_INSTALL.exists():
                require_compiler()  # before the steps that take a long time
            install_packages(runner)
            compile_messages(runner)
            install_project(runner)
            if options.page:
                install_page_packages(runner)
            if options.test:
                install_test_packages(runner)
    except SetupError as error:
        print(f'setup: {error}', file=sys.stderr)
        return 1
    except InterruptedSetup:
        print('\nsetup: interrupted; the next run continues from here', file=sys.stderr)
        return 130
    return 0


# --- the steps ---


def make_venv(runner: Runner, exact_version: bool) -> None:
    """Create `.venv` unless a usable one exists.

    Args:
        runner: runs the commands.
        exact_version: the user chose this interpreter: a `.venv` of another version is
            replaced. Otherwise any suitable version is kept.
    """
    stamp = Stamp(VENV / '.tam_ros' / 'venv', [str(VENV)])
    version = f'{sys.version_info[0]}.{sys.version_info[1]}'
    if stamp.is_current() and VENV_PYTHON.exists():
        existing = read_venv_version()
        if existing == version or not exact_version:
            return
    require_venv_module()
    if VENV.exists():
        shutil.rmtree(VENV)
    runner.run(f'virtual environment with Python {version}', [sys.executable, '-m', 'venv', VENV])
    stamp.write()


def install_packages(runner: Runner) -> None:
    """Install the Python packages and the ROS wheels."""
    files = [ROOT / 'requirements-robot.txt', ROOT / 'requirements.txt', ROS_REQUIREMENTS]
    stamp = Stamp(VENV / '.tam_ros' / 'packages', files)
    if stamp.is_current():
        return
    remove_half_installed()
    arguments = [part for file in files for part in ('-r', file)]
    runner.pip(f'ROS 2 {DISTRO.capitalize()} and Python packages', *arguments)
    stamp.write()


def compile_messages(runner: Runner) -> None:
    """Generate and compile msg/ and srv/ with the package's own CMakeLists.txt."""
    fixups = ROOT / 'scripts' / 'wheel_fixups.cmake'
    named = ('CMakeLists.txt', 'package.xml')
    sources = [fixups, ROS_REQUIREMENTS, *(ROOT / name for name in named)]
    sources += [path for folder in ('msg', 'srv') for path in sorted((ROOT / folder).iterdir())]
    # These are installed as links, so only the list of files matters, not their content.
    folders = [ROOT / name for name in ('launch', 'config', 'engines')]
    linked = [str(path) for folder in folders for path in sorted(folder.iterdir())]
    stamp = Stamp(ROS_INSTALL / '.stamp', [str(ROOT), read_venv_version(), *linked, *sources])
    if stamp.is_current():
        return
    require_compiler()
    tools = find_build_tools(runner)
    # Start empty: an interrupted generator leaves files that look up to date.
    shutil.rmtree(ROS_BUILD.parent, ignore_errors=True)
    ROS_BUILD.mkdir(parents=True)
    paths = {'AMENT_PREFIX_PATH': VENV, 'CMAKE_PREFIX_PATH': VENV}
    configure: list[str | Path] = [
        tools['cmake'],
        *('-S', ROOT, '-B', ROS_BUILD, '-G', 'Ninja'),
        f'-DCMAKE_MAKE_PROGRAM={tools["ninja"]}',
        '-DCMAKE_BUILD_TYPE=Release',
        '-DBUILD_TESTING=OFF',
        '-DAMENT_CMAKE_SYMLINK_INSTALL=ON',
        '-DTAM_ROS_INSTALL_PYTHON=OFF',
        f'-DPython3_EXECUTABLE={VENV_PYTHON}',
        f'-DCMAKE_PROJECT_INCLUDE={fixups}',
        f'-DCMAKE_INSTALL_PREFIX={ROS_INSTALL}',
    ]
    what = 'message types'
    runner.run(f'{what}: configure', configure, extra=paths)
    runner.run(f'{what}: compile', [tools['cmake'], '--build', ROS_BUILD], extra=paths)
    runner.run(f'{what}: install', [tools['cmake'], '--install', ROS_BUILD], extra=paths)
    stamp.write()


def install_project(runner: Runner) -> None:
    """Put the checkout itself, and its `tam` command, into `.venv`."""
    stamp = Stamp(
        VENV / '.tam_ros' / 'project', [str(ROOT), ROOT / 'pyproject.toml', ROOT / 'setup.py']
    )
    if stamp.is_current():
        return
    runner.pip('tam_ros itself', '--no-deps', '--no-build-isolation', '--editable', ROOT)
    stamp.write()


def install_page_packages(runner: Runner) -> None:
    """Install the extra `page` of pyproject.toml."""
    stamp = Stamp(VENV / '.tam_ros' / 'page', [*PAGE])
    if stamp.is_current():
        return
    remove_half_installed()
    runner.pip('packages of the page', *PAGE)
    stamp.write()


def install_test_packages(runner: Runner) -> None:
    """Install torch and the other packages that only the tests need."""
    requirements = ROOT / 'requirements-test.txt'
    stamp = Stamp(VENV / '.tam_ros' / 'test', [TORCH, *TENSORRT_RTX, requirements])
    if stamp.is_current():
        return
    remove_half_installed()
    runner.pip(TORCH, TORCH)
    runner.pip('test packages', '-r', requirements)
    runner.pip('TensorRT for RTX', '--no-deps', *TENSORRT_RTX)
    stamp.write()


# --- requirements of the machine ---


def check_platform() -> None:
    """Refuse machines for which no ROS wheels exist."""
    libc, version = platform.libc_ver()
    glibc = tuple(int(part) for part in re.findall(r'\d+', version)[:2])
    if sys.platform == 'linux' and platform.machine() == 'x86_64' and libc == 'glibc':
        if glibc >= (2, 28):
            return
    raise SetupError(
        f'ROS 2 wheels exist for x86-64 Linux with glibc 2.28 or newer; this is '
        f'{platform.machine()} {sys.platform} {libc} {version}. Where ROS 2 is installed '
        f'(apt, Jetson), build this package with `colcon build` instead.'
    )


def check_distro() -> None:
    """Refuse distributions of which there are no wheels."""
    if not ROS_REQUIREMENTS.exists():
        known = sorted(
            path.stem.removeprefix('requirements-ros-')
            for path in ROOT.glob('requirements-ros-*.txt')
        )
        raise SetupError(f'no wheels are known of ROS 2 {DISTRO!r}; choose {" or ".join(known)}')


def require_venv_module() -> None:
    """Refuse a Python without the venv module, which Debian packages separately."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        version = f'{sys.version_info[0]}.{sys.version_info[1]}'
        raise SetupError(
            f'{sys.executable} cannot create virtual environments. Install the missing package:\n'
            f'           sudo apt-get install python{version}-venv python{version}-dev'
        ) from error


def require_compiler() -> None:
    """Refuse a machine without C and C++ compilers or without Python's headers."""
    for variable, names, package in (
        ('CC', ('cc', 'gcc', 'clang'), 'C'),
        ('CXX', ('c++', 'g++', 'clang++'), 'C++'),
    ):
        chosen = os.environ.get(variable, '').split()[:1]
        if not any(shutil.which(name) for name in chosen or names):
            missing = chosen[0] if chosen else names[0]
            raise SetupError(
                f'no {package} compiler ({missing}): the ROS messages have to be compiled. '
                f'Install it:\n           sudo apt-get install build-essential'
            )
    query = 'import sysconfig; print(sysconfig.get_path("include"))'
    found = subprocess.run([VENV_PYTHON, '-c', query], capture_output=True, text=True, env=clean())
    if not Path(found.stdout.strip(), 'Python.h').exists():
        version = read_venv_version()
        raise SetupError(
            f'the headers of Python {version} are missing (Python.h): the ROS messages have to be '
            f'compiled. Install them:\n           sudo apt-get install python{version}-dev'
        )


def find_build_tools(runner: Runner) -> dict[str, str]:
    """Return the paths of cmake and ninja; install wheels if the system has none."""
    tools = {'cmake': shutil.which('cmake'), 'ninja': shutil.which('ninja')}
    if tools['cmake']:
        answer = subprocess.run([tools['cmake'], '--version'], capture_output=True, text=True)
        found = re.search(r'version (\d+)\.(\d+)', answer.stdout)
        if not found or tuple(map(int, found.groups())) < MINIMUM_CMAKE:
            tools['cmake'] = None
    wheels = {'cmake': 'cmake>=3.20,<4', 'ninja': 'ninja>=1.10,<2'}
    missing = [wheels[name] for name, path in tools.items() if path is None]
    if missing:
        runner.pip(' and '.join(missing), *missing)
    return {name: path or str(VENV / 'bin' / name) for name, path in tools.items()}


# --- the virtual environment ---


def read_venv_version() -> str:
    """Return the Python version of `.venv`, such as `3.11`."""
    text = (VENV / 'pyvenv.cfg').read_text()
    found = re.search(r'^version\s*=\s*(\d+\.\d+)', text, re.MULTILINE)
    return found.group(1) if found else ''


def remove_half_installed() -> None:
    """Forget packages whose installation was interrupted, so that pip installs them again.

    pip writes INSTALLER when every file of the package is in its place (RECORD is among those
    files); without it pip would count the package as installed.
    """
    for folder in VENV.glob('lib/python3*/site-packages/*.dist-info'):
        if not (folder / 'INSTALLER').exists():
            shutil.rmtree(folder)


if __name__ == '__main__':
    sys.exit(main())
