# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A Jetson's wheels: whose conditions count, and that they are there if an index answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import check_robot_wheels
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'scripts' / 'check_robot_wheels.py'


@pytest.fixture
def wheel(tmp_path):
    def make(name, version, *requires, tag='py3-none-any'):
        path = tmp_path / f'{name}-{version}-{tag}.whl'
        lines = [
            'Metadata-Version: 2.1',
            f'Name: {name}',
            f'Version: {version}',
            *(f'Requires-Dist: {one}' for one in requires),
        ]
        with ZipFile(path, 'w') as archive:
            archive.writestr(f'{name}-{version}.dist-info/METADATA', '\n'.join(lines) + '\n\n')
        return path

    return make


def test_conditions_are_those_of_the_robot(wheel):
    wheels = [
        wheel(
            'app',
            '1.0',
            'backport; python_version < "3.11"',
            'win; os_name == "nt"',
            'arm>=2; platform_machine == "aarch64"',
            'plot; extra == "plots"',
        )
    ]
    assert check_robot_wheels.missing(wheels, '3.10') == ['arm>=2', 'backport']
    assert check_robot_wheels.missing(wheels, '3.12') == ['arm>=2']


def test_conditions_of_the_requirements_are_those_of_the_robot(tmp_path):
    file = tmp_path / 'requirements.txt'
    file.write_text(
        '# A comment.\nonnx<2; python_version < "3.11"\nonnx>=2; python_version >= "3.11"\n\nlib\n'
    )
    assert check_robot_wheels.required(file, '3.10') == ['onnx<2', 'lib']
    assert check_robot_wheels.required(file, '3.12') == ['onnx>=2', 'lib']


def test_a_version_that_does_not_fit_is_missing(wheel):
    wheels = [wheel('app', '1.0', 'my_lib<2'), wheel('my_lib', '2.1')]
    assert check_robot_wheels.missing(wheels, '3.12') == ['my_lib<2']
    assert check_robot_wheels.missing([wheels[0], wheel('my_lib', '1.9')], '3.12') == []


def test_what_pip_left_out_is_asked_for_again(wheel, tmp_path, monkeypatch):
    wheel('app', '1.0', 'backport; python_version < "3.11"')
    asked = []

    def download(arguments, python, folder):
        asked.append(list(arguments))
        if 'backport' in arguments:
            wheel('backport', '3.0')

    monkeypatch.setattr(check_robot_wheels, 'download', download)
    wheels = check_robot_wheels.resolve(['app'], '3.10', tmp_path)
    assert [path.name.partition('-')[0] for path in wheels] == ['app', 'backport']
    assert asked == [['app'], ['app', 'backport']]
    row = check_robot_wheels.describe('3.10', ('numpy<2',), wheels)
    assert row[:3] == ['3.10', '`numpy<2`', '2']


def test_what_cannot_be_met_is_an_error(wheel, tmp_path, monkeypatch):
    wheel('app', '1.0', 'gone')
    monkeypatch.setattr(check_robot_wheels, 'download', lambda *_: None)
    with pytest.raises(check_robot_wheels.MissingError, match='gone cannot be met'):
        check_robot_wheels.resolve(['app'], '3.10', tmp_path)


@pytest.mark.parametrize(
    ('said', 'error'),
    [
        ('ERROR: No matching distribution found for app', check_robot_wheels.MissingError),
        (
            'WARNING: Retrying after connection broken\n'
            'ERROR: No matching distribution found for app',
            check_robot_wheels.UnreachableError,
        ),
    ],
)
def test_no_index_is_not_a_missing_wheel(tmp_path, monkeypatch, said, error):
    failed = subprocess.CompletedProcess([], 1, '', said)
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: failed)
    with pytest.raises(error, match='No matching distribution'):
        check_robot_wheels.download(['app'], '3.10', tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('python', check_robot_wheels.PYTHONS)
def test_a_robot_gets_everything_as_wheels(python):
    done = subprocess.run(
        [sys.executable, SCRIPT, '--python', python], text=True, capture_output=True
    )
    if done.returncode == check_robot_wheels.NO_INDEX:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert f'| {python} |  |' in done.stdout
    assert f'| {python} | `numpy<2` |' in done.stdout and 'numpy 1.26' in done.stdout
