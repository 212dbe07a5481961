"""What the package says of itself in several places must agree."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import tam_ros

ROOT = Path(__file__).resolve().parents[2]


def test_one_version():
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.findtext('version') == tam_ros.__version__


def test_cmake_generates_every_interface():
    listed = re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', (ROOT / 'CMakeLists.txt').read_text())
    present = [str(path.relative_to(ROOT)) for folder in ('msg', 'srv')
               for path in sorted((ROOT / folder).iterdir())]
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


def test_installed_programs_can_be_run():
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    programs = re.search(r'install\(PROGRAMS (.*?) DESTINATION', cmake)
    for name in programs.group(1).split():
        assert os.access(ROOT / name, os.X_OK), f'{name} is not executable'
        assert (ROOT / name).read_text().startswith('#!/usr/bin/env python3\n')
