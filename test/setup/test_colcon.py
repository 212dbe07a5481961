# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`colcon build` and `colcon test`, as on a robot, and where the files are installed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXUPS = ROOT / 'scripts' / 'wheel_fixups.cmake'
# Of this shell's set-up, which the workspace must not find.
OURS = ('PYTHONPATH', 'LD_LIBRARY_PATH', 'CMAKE_PREFIX_PATH', 'PYTEST_ADDOPTS')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2700),  # compiling takes 9 minutes on two busy cores
    pytest.mark.skipif(shutil.which('colcon') is None, reason='colcon is not installed here'),
]


def environment():
    """Return the variables of a shell in which only the ROS wheels are set up."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    # With this variable, Python does not add the libraries of the wheels when it starts.
    kept.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    # colcon's setup scripts call their Python without quotes, so its path must contain no space;
    # that of the virtual environment does if the checkout's does.
    python = str(Path(sys.executable).resolve())
    return {
        **kept,
        'AMENT_PREFIX_PATH': sys.prefix,
        'CMAKE_PREFIX_PATH': sys.prefix,
        'COLCON_PYTHON_EXECUTABLE': python,
    }


def colcon(workspace, *arguments):
    """Run colcon in a workspace; return what it prints."""
    answer = subprocess.run(
        ['colcon', *arguments], cwd=workspace, env=environment(), capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def run(workspace, command):
    """Run a shell command with the workspace set up, from another folder; return its output."""
    answer = subprocess.run(
        ['bash', '-ec', f'. "$0"/install/local_setup.bash; {command}', workspace],
        cwd='/',
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Build the package once, with the line of the README.

    Two jobs, the compiler takes half a gigabyte each.
    """
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup')
    workspace = tmp_path_factory.mktemp('workspace')
    (workspace / 'src').mkdir()
    (workspace / 'src' / 'tam_ros').symlink_to(ROOT)
    readme = (ROOT / 'README.md').read_text()
    (line,) = re.findall(r'^ *colcon (build .*?) &&', readme, re.MULTILINE)
    colcon(
        workspace,
        *shlex.split(line),
        '--symlink-install',
        '--cmake-args',
        '-G',
        'Ninja',
        f'-DPython3_EXECUTABLE={sys.executable}',
        f'-DCMAKE_PROJECT_INCLUDE={FIXUPS}',
        '-DTAM_ROS_PYTEST=-k one_version',
    )
    return workspace


def test_everything_is_where_ros_looks_for_it(workspace):
    prefix = workspace / 'install' / 'tam_ros'
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    programs = re.search(r'install\(PROGRAMS ([^)]*?)\s+DESTINATION lib/', cmake)[1].split()
    assert {path.name for path in (prefix / 'lib' / 'tam_ros').iterdir()} == {
        Path(program).name for program in programs
    }
    share = prefix / 'share' / 'tam_ros'
    for folder in ('launch', 'config', 'engines'):
        installed = {path.name for path in (share / folder).iterdir()}
        assert installed == {path.name for path in (ROOT / folder).iterdir()} - {'__pycache__'}
    assert (prefix / 'share/ament_index/resource_index/packages/tam_ros').exists()


def test_the_workspace_alone_runs_it(workspace):
    """Messages, their type support, the hand-written modules, the catalogue, the command."""
    script = workspace / 'script.py'
    script.write_text(
        'from rclpy.serialization import deserialize_message, serialize_message\n'
        'import tam_ros.ros.track_node\n'
        'from tam_ros.catalogue import engines_dir\n'
        'from tam_ros.msg import TrackedObject, TrackedObjectArray\n'
        'message = TrackedObjectArray(objects=[TrackedObject(id=7)])\n'
        'again = deserialize_message(serialize_message(message), TrackedObjectArray)\n'
        'print(tam_ros.ros.track_node.__file__, engines_dir(), again.objects[0].id, sep="\\n")\n'
    )
    module, engines, number = run(workspace, 'python "$0"/script.py').splitlines()
    assert Path(module).is_relative_to(workspace / 'install')
    assert (Path(engines) / 'models.yaml').is_file()
    assert number == '7'
    command, *models = run(workspace, 'command -v tam; tam models').splitlines()
    assert command == f'{workspace}/install/tam_ros/bin/tam'
    assert any('efficienttam_nano' in line for line in models)


def test_with_symlink_install_an_edit_is_live(workspace):
    (module,) = (workspace / 'install').glob('tam_ros/lib/python3*/site-packages/tam_ros/cli.py')
    assert module.resolve() == ROOT / 'tam_ros' / 'cli.py'


def test_colcon_test(workspace):
    """Runs one test of the suite; CMakeLists.txt has the default selection."""
    colcon(workspace, 'test', '--return-code-on-test-failure')
    assert '1 test, 0 errors, 0 failures' in colcon(workspace, 'test-result', '--all')
