# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What can be known without ROS 2 Humble about running there: Python 3.10, names of rclpy."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import rclpy
from rclpy_names import Api, checked, installed, read_api, used

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ('benchmark', 'launch', 'scripts', 'tam_ros', 'test', 'training')


def test_all_source_is_python_3_10():
    """`ruff check` refuses more of what is newer; this works without it."""
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py')):
        ast.parse(path.read_text(), str(path), feature_version=(3, 10))


def test_every_name_of_rclpy_exists_in_humble():
    assert rclpy
    names = used(installed())
    missing = {name: place for name, place in names.items() if name not in checked()}
    assert not missing, (
        f'not in test/humble_rclpy.txt: {missing}. If rclpy of Humble has them, write the list '
        'again, see test/rclpy_names.py; otherwise give an alternative in ros/distribution.py'
    )
    assert len(names) > 100, 'the names are found'


@pytest.fixture
def source(tmp_path) -> Api:
    """A small rclpy."""
    package = tmp_path / 'rclpy'
    package.mkdir()
    (package / '__init__.py').write_text(
        'from rclpy.context import Context\ndef init(*, args): pass\n'
    )
    (package / 'node.py').write_text(
        'try:\n    import fast\nexcept ImportError:\n    fast = None\n'
        'class Node:\n'
        '    def __init__(self, name, *, context=None): self._name = name\n'
        '    def create_timer(self, period, *, clock=None): pass\n'
        'class Derived(Node):\n    LEVEL = 1\n'
    )
    return read_api(package)


@pytest.mark.parametrize(
    ('name', 'there'),
    [
        ('rclpy', True),
        ('rclpy:init', True),
        ('rclpy:node', True),
        ('rclpy:spin', False),
        ('rclpy.node:Node', True),
        ('rclpy.node:fast', True),
        ('rclpy.event_handler:Anything', False),
        ('.create_timer', True),
        ('._name', True),
        ('.LEVEL', True),
        ('.destroy', False),
        ('create_timer(clock)', True),
        ('create_timer(autostart)', False),
        ('Node(context)', True),
        ('Node(namespace)', False),
        ('Derived(anything)', True),
    ],
)
def test_how_names_are_found_in_a_source(source, name, there):
    assert source.has(name) == there
