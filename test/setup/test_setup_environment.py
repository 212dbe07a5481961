# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The set-up: when a step is due, and what it says where something is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import setup_environment
import setup_runner

ROOT = Path(__file__).resolve().parents[2]


def test_a_step_is_due_until_it_is_done_and_again_when_its_inputs_change(tmp_path):
    source = tmp_path / 'requirements.txt'
    source.write_text('numpy')

    def stamp(*more):
        return setup_runner.Stamp(tmp_path / 'made' / 'stamp', [source, *more])

    assert not stamp().is_current()
    stamp().write()
    assert stamp().is_current()
    assert not stamp('/another/checkout').is_current()
    source.write_text('numpy>=2')
    assert not stamp().is_current()


def test_an_interrupted_write_is_no_stamp(tmp_path, monkeypatch):
    stamp = setup_runner.Stamp(tmp_path / 'stamp', ['input'])

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, 'replace', interrupt)
    with pytest.raises(KeyboardInterrupt):
        stamp.write()
    assert not stamp.is_current()


def test_a_half_installed_package_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(setup_environment, 'VENV', tmp_path)
    packages = tmp_path / 'lib' / 'python3.11' / 'site-packages'
    for name, files in (('whole-1.0', ['RECORD', 'INSTALLER']), ('half-1.0', ['RECORD'])):
        folder = packages / f'{name}.dist-info'
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).touch()
    setup_environment.remove_half_installed()
    assert [path.name for path in packages.iterdir()] == ['whole-1.0.dist-info']


# Each row: what is missing, and what the user must be told to type.
@pytest.mark.parametrize(
    ('missing', 'words'),
    [
        pytest.param({'cc', 'gcc', 'clang'}, 'apt-get install build-essential', id='no C'),
        pytest.param({'c++', 'g++', 'clang++'}, 'no C++ compiler', id='no C++'),
    ],
)
def test_a_missing_compiler_is_named(monkeypatch, missing, words):
    monkeypatch.delenv('CC', raising=False)
    monkeypatch.delenv('CXX', raising=False)
    found = shutil.which
    monkeypatch.setattr(
        shutil, 'which', lambda name: None if name in missing else found(name) or '/usr/bin/cc'
    )
    with pytest.raises(setup_runner.SetupError) as caught:
        setup_environment.require_compiler()
    assert words in str(caught.value)


def test_a_distribution_without_wheels_is_refused(monkeypatch, tmp_path):
    missing = tmp_path / 'requirements-ros-humble.txt'
    monkeypatch.setattr(setup_environment, 'DISTRO', 'humble')
    monkeypatch.setattr(setup_environment, 'ROS_REQUIREMENTS', missing)
    with pytest.raises(setup_runner.SetupError, match="'humble'; choose jazzy or kilted"):
        setup_environment.check_distro()


def test_the_wheels_of_all_distributions_are_the_same_packages():
    """Kilted moved a part of ament_cmake_ros to a package of its own."""

    def packages(distro):
        lines = (ROOT / f'requirements-ros-{distro}.txt').read_text().splitlines()
        return [re.split('[=<>]', line)[0] for line in lines if not line.startswith('#')]

    jazzy, kilted = packages('jazzy'), packages('kilted')
    assert [name for name in kilted if name not in jazzy] == ['ros-ament-cmake-ros-core']
    assert [name for name in jazzy if name not in kilted] == []


def make(tmp_path, *arguments, **environment):
    """Return what the set-up and env.sh would be told by make; nothing is set up."""
    shutil.copy(ROOT / 'Makefile', tmp_path)
    (tmp_path / 'scripts').mkdir(exist_ok=True)
    script = tmp_path / 'scripts' / 'setup.sh'
    script.write_text('#!/bin/sh\necho "distribution <$TAM_ROS_DISTRO>"\n')
    script.chmod(0o755)
    left_out = ('MAKE', 'MFLAGS', 'TAM_ROS_DISTRO')
    kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    answer = subprocess.run(
        ['make', '-s', 'setup', *arguments],
        cwd=tmp_path,
        env={**kept, **environment},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_make_sets_up_the_distribution_of_its_command_line(tmp_path):
    """Not that of the shell, in which a ROS of the system may be set up."""
    assert make(tmp_path, 'ROS_DISTRO=kilted', ROS_DISTRO='humble') == 'distribution <kilted>'
    assert make(tmp_path, ROS_DISTRO='humble') == 'distribution <>'
    assert make(tmp_path, TAM_ROS_DISTRO='kilted') == 'distribution <kilted>'


def test_missing_headers_are_named(monkeypatch, tmp_path):
    (tmp_path / 'pyvenv.cfg').write_text('version = 3.11.7\n')
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho /nowhere/include\n')
    python.chmod(0o755)
    monkeypatch.setattr(setup_environment, 'VENV', tmp_path)
    monkeypatch.setattr(setup_environment, 'VENV_PYTHON', python)
    monkeypatch.setattr(shutil, 'which', lambda name: f'/usr/bin/{name}')
    with pytest.raises(setup_runner.SetupError, match=r'apt-get install python3\.11-dev'):
        setup_environment.require_compiler()


def test_other_machines_are_told_to_use_colcon(monkeypatch):
    monkeypatch.setattr(platform, 'machine', lambda: 'aarch64')
    with pytest.raises(setup_runner.SetupError, match='colcon build'):
        setup_environment.check_platform()


def test_a_command_that_fails_shows_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(setup_runner, 'ROOT', tmp_path)
    monkeypatch.setattr(setup_runner, 'BUILD', tmp_path)
    monkeypatch.setattr(setup_runner, 'LOG', tmp_path / 'setup.log')
    with (
        (tmp_path / 'lock').open('w') as lock,
        pytest.raises(
            setup_runner.SetupError, match='(?s)step failed.*no such wheel.*Is it there'
        ),
    ):
        setup_runner.Runner(lock.fileno()).run(
            'step', ['sh', '-c', 'echo no such wheel; exit 3'], hint='Is it there?'
        )


def test_an_unsuitable_python_is_refused():
    answer = subprocess.run(
        [ROOT / 'scripts' / 'setup.sh'],
        env={**os.environ, 'PYTHON': '/bin/false'},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert 'PYTHON=/bin/false does not run as Python 3.10, 3.11 or 3.12' in answer.stderr


@pytest.mark.parametrize('shell', ['bash', 'zsh'])
def test_env_sh_from_another_folder(shell, tmp_path):
    """Sourced from anywhere, twice, under `set -u`, with another ROS in the environment."""
    if not shutil.which(shell):
        pytest.skip(f'{shell} is not installed here')
    install = setup_environment.ROS_INSTALL
    if not (install / '.stamp').exists():
        pytest.skip('nothing is set up here: make setup')
    script = (
        '. "$1/env.sh"; . "$1/env.sh"; '
        'python -c "import tam_ros.msg; print(tam_ros.__file__)"; '
        'echo "$LD_LIBRARY_PATH"; echo "$PATH"'
    )
    answer = subprocess.run(
        [shell, '-euc', script, shell, ROOT],
        cwd=tmp_path,
        env={
            'PATH': os.defpath,
            'HOME': str(tmp_path),
            'TAM_ROS_DISTRO': setup_runner.DISTRO,
            'LD_LIBRARY_PATH': '/opt/ros/humble/lib:/usr/local/cuda/lib64',
            'AMENT_PREFIX_PATH': '/opt/ros/humble',
            'PYTHONPATH': '/opt/ros/humble/lib/python3.10/site-packages',
        },
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    module, libraries, path = answer.stdout.splitlines()
    assert module == str(ROOT / 'tam_ros' / '__init__.py')
    assert libraries == f'{install}/lib:/usr/local/cuda/lib64'
    assert path.split(':').count(f'{setup_runner.VENV}/bin') == 1


def test_env_sh_says_what_to_do_first(tmp_path):
    shutil.copy(ROOT / 'env.sh', tmp_path)
    answer = subprocess.run(
        ['bash', '-c', 'unset TAM_ROS_DISTRO; . ./env.sh'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert answer.stderr.strip().endswith('run: make setup')
    answer = subprocess.run(
        ['bash', '-c', 'TAM_ROS_DISTRO=kilted . ./env.sh'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert answer.stderr.strip().endswith('run: make setup ROS_DISTRO=kilted')


def test_it_runs_on_the_oldest_python_by_itself():
    """Before the set-up, nothing but the standard library is installed."""
    answer = subprocess.run(
        [sys.executable, '-E', '-S', ROOT / 'scripts' / 'setup_environment.py', '--help'],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr


def test_an_interrupt_ends_the_command_and_all_it_started(tmp_path):
    """The signal goes to the set-up alone, as with `kill`; its command's group must end."""
    script = f"""
import sys, pathlib
sys.path.insert(0, {str(ROOT / 'scripts')!r})
import setup_environment as setup, setup_runner
setup_runner.ROOT = setup_runner.BUILD = pathlib.Path({str(tmp_path)!r})
setup_runner.LOG = setup_runner.BUILD / 'log'
def step(runner, exact_version):
    runner.run('step', ['bash', '-c', 'sleep 300 & echo $! > {tmp_path}/pid; wait'])
setup.make_venv = step
sys.argv = ['setup']
sys.exit(setup.main())
"""
    process = subprocess.Popen([sys.executable, '-c', script], stderr=subprocess.PIPE, text=True)
    pid = tmp_path / 'pid'
    deadline = time.monotonic() + 20
    while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert 'the next run continues from here' in errors
    while _runs(pid.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid.read_text().strip())


def _runs(pid: str) -> bool:
    try:
        state = Path('/proc', pid, 'stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'  # ended, and waits for a reaper
