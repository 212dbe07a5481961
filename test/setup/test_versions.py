# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The lowest versions of libraries: the same in the requirements, pyproject.toml and the docs."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = 'pyproject.toml'
FILES = ('requirements-robot.txt', 'requirements.txt', 'requirements-test.txt')
# Installed by apt on a robot: names of rosdep.
FROM_APT = {
    'numpy': 'python3-numpy',
    'opencv-python-headless': 'python3-opencv',
    'pillow': 'python3-pil',
    'pyyaml': 'python3-yaml',
    'tqdm': 'python3-tqdm',
    'filelock': 'python3-filelock',
}


def read_requirements(name):
    if name == PROJECT:
        extras = (ROOT / PROJECT).read_text().partition('[project.optional-dependencies]')[2]
        lines = re.findall(r'"([^"]+)"', extras.partition('\n[')[0])
    else:
        lines = (ROOT / name).read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith('#')]
    return [Requirement(line) for line in lines if '@' not in line]


REQUIREMENTS = {name: read_requirements(name) for name in (*FILES, PROJECT)}


def required(package, python):
    """Return the lowest version and the excluded ones, from every file that has the package."""
    found = {}
    for file, requirements in REQUIREMENTS.items():
        for one in requirements:
            if canonicalize_name(one.name) != package:
                continue
            if one.marker and not one.marker.evaluate({'python_version': python}):
                continue
            lowest = {part.version for part in one.specifier if part.operator == '>='}
            excluded = {part.version for part in one.specifier if part.operator == '!='}
            found[file] = lowest, excluded
    return found


def read_table():
    text = (ROOT / 'docs' / 'security.md').read_text()
    lines = text.partition('<!-- versions: begin -->')[2].partition('<!-- versions: end -->')[0]
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines.split('\n')]
    return {row[0].strip('`'): row for row in rows if row and row[0].startswith('`')}


TABLE = read_table()


def floor(package, python):
    """Return the lowest version that the docs give for a Python."""
    general, _, older = TABLE[package][1].partition('; ')
    return older.partition(' with Python 3.10')[0] if older and python == '3.10' else general


def test_a_package_is_required_alike_everywhere():
    seen = {}
    for file, requirements in REQUIREMENTS.items():
        for one in requirements:
            key = canonicalize_name(one.name), str(one.marker or '')
            specifier, first = seen.setdefault(key, (one.specifier, file))
            assert one.specifier == specifier, f'{one.name} differs between {first} and {file}'


@pytest.mark.parametrize('python', ['3.10', '3.12'])
@pytest.mark.parametrize('package', sorted(set(TABLE) - {'torch'}))
def test_the_docs_have_the_versions_of_the_requirements(package, python):
    found = required(package, python)
    assert found, f'no file requires {package}'
    excluded = {f'{one}.*' for one in TABLE[package][2].split(', ') if one}
    for file, versions in found.items():
        assert versions == ({floor(package, python)}, excluded), file


def test_pickles_are_read_from_the_version_of_torch_that_the_docs_give():
    pytest.importorskip('torch', reason='torch is not installed')
    from tam_ros.models.checkpoint_pickle import MINIMUM_TORCH

    assert '.'.join(map(str, MINIMUM_TORCH)) == TABLE['torch'][1]
    setup = (ROOT / 'scripts' / 'setup_environment.py').read_text()
    pinned = re.search("^TORCH = 'torch==([0-9.]+)'$", setup, re.MULTILINE)[1]
    assert Version(pinned) >= Version(TABLE['torch'][1])


def test_what_a_robot_needs_is_installed_by_apt():
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {element.text for element in package.iter('exec_depend')}
    needed = {canonicalize_name(one.name) for one in REQUIREMENTS['requirements-robot.txt']}
    assert needed == set(FROM_APT)
    assert set(FROM_APT.values()) <= declared
    from_apt = set(TABLE) & set(FROM_APT)
    text = ' '.join((ROOT / 'docs' / 'security.md').read_text().split())
    assert from_apt == {'pillow', 'opencv-python-headless', 'filelock', 'tqdm'}
    assert 'apt installs OpenCV, Pillow, filelock and tqdm' in text


@pytest.mark.parametrize('package', sorted(TABLE))
def test_this_environment_has_such_versions(package):
    try:
        installed = Version(version(package))
    except PackageNotFoundError:
        pytest.skip(f'{package} was not installed by pip')
    python = '.'.join(map(str, sys.version_info[:2]))
    assert installed >= Version(floor(package, python))
