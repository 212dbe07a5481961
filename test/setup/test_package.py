# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the package says of itself in several places must agree."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from zipfile import ZipFile

import pytest

import tam_ros

ROOT = Path(__file__).resolve().parents[2]

# Keys that are not ROS packages, by the module they bring; looked up in rosdep/base.yaml and
# rosdep/python.yaml of rosdistro. An unknown one stops `rosdep install`.
ROSDEP_KEYS = {
    'PIL': 'python3-pil',
    'cv2': 'python3-opencv',
    'filelock': 'python3-filelock',
    'numpy': 'python3-numpy',
    'pytest': 'python3-pytest',
    'pytest_timeout': 'python3-pytest-timeout',
    'tqdm': 'python3-tqdm',
    'yaml': 'python3-yaml',
}
# ROS packages whose modules have another name. They, too, are released for Humble and Jazzy.
ROS_PACKAGES = {'tf2_ros': 'tf2_ros_py'}
# What pip installs where it is used; see the README and docs/jetson.md.
FROM_PIP = {
    'aiohttp',
    'av',
    'fsspec',
    'huggingface_hub',
    'matplotlib',
    'mcap',
    'onnx',
    'onnxruntime',
    'openvino',
    'pycocotools',
    'pycuda',
    'ray',
    'rosbags',
    'safetensors',
    'segno',
    'tensorrt',
    'tokenizers',
    'torch',
    'zstandard',
}


def test_one_version():
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.findtext('version') == tam_ros.__version__


def test_cmake_generates_every_interface():
    listed = re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', (ROOT / 'CMakeLists.txt').read_text())
    present = [
        str(path.relative_to(ROOT))
        for folder in ('msg', 'srv')
        for path in sorted((ROOT / folder).iterdir())
    ]
    assert sorted(listed) == sorted(present)


def test_the_packages_of_the_messages_are_declared():
    used = set()
    for path in [*(ROOT / 'msg').iterdir(), *(ROOT / 'srv').iterdir()]:
        used |= set(re.findall(r'^(\w+)/\w+', path.read_text(), re.MULTILINE))
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {element.text for element in package.iter('depend')}
    assert used <= declared
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    assert all(f'find_package({name} REQUIRED)' in cmake for name in used)


def test_what_is_imported_is_declared():
    """What a robot lacks would otherwise show when the node starts."""
    imported = set()
    for path in [*(ROOT / 'tam_ros').rglob('*.py'), *(ROOT / 'launch').iterdir()]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition('.')[0])
    foreign = imported - set(sys.stdlib_module_names) - FROM_PIP - {'tam_ros'}
    names = {ROSDEP_KEYS.get(module) or ROS_PACKAGES.get(module, module) for module in foreign}
    assert names <= read_dependencies()


def test_dependencies_that_are_no_ros_packages_are_known_to_rosdep():
    system = {name for name in read_dependencies() if name.startswith(('python3', 'lib'))}
    assert system <= set(ROSDEP_KEYS.values())


def read_dependencies():
    """Return every name that package.xml depends on in any way."""
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    return {element.text for element in package if element.tag.endswith('depend')}


def test_the_package_manifest_follows_rep_149():
    parser = pytest.importorskip('catkin_pkg.package', reason='catkin_pkg is not installed here')
    warnings = []
    package = parser.parse_package(str(ROOT / 'package.xml'), warnings=warnings)
    package.validate(warnings=warnings)
    assert warnings == []


def test_installed_programs_can_be_run():
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    programs = re.search(r'install\(PROGRAMS ([^)]*?)\s+DESTINATION lib/', cmake)
    for name in programs.group(1).split():
        assert os.access(ROOT / name, os.X_OK), f'{name} is not executable'
        assert (ROOT / name).read_text().startswith('#!/usr/bin/env python3\n')


@pytest.mark.slow
def test_a_wheel_holds_what_the_package_looks_for(tmp_path):
    """As `pip install .` puts it in place, without the messages; built from a copy."""
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('tam_ros', 'engines', 'config'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in (
        'pyproject.toml',
        'setup.py',
        'requirements-robot.txt',
        'requirements.txt',
        'README.md',
    ):
        shutil.copy(ROOT / name, source)
    answer = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '.'],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    (wheel,) = source.glob('tam_ros-*.whl')
    names = ZipFile(wheel).namelist()
    modules = {name for name in names if name.startswith('tam_ros/')}
    written = [*(source / 'tam_ros').rglob('*.py'), *(source / 'tam_ros/page/static').iterdir()]
    assert modules == {str(path.relative_to(source)) for path in written}
    shared = {name.partition('/share/tam_ros/')[2] for name in names if '/share/' in name}
    assert shared == {
        str(path.relative_to(source))
        for folder in ('engines', 'config')
        for path in (source / folder).rglob('*')
        if path.is_file()
    }
