# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Imports are those of the table in docs/architecture.md, and run one way."""

from __future__ import annotations

import subprocess
import sys

import import_graph
import pytest
from import_graph import DOCUMENT, PACKAGE, Imports

HEAVY = {
    'torch',
    'onnx',
    'onnxruntime',
    'openvino',
    'rclpy',
    'cv2',
    'rosbags',
    'numpy',
    'huggingface_hub',
}
TABLE = import_graph.read_table(DOCUMENT.read_text())
FOUND = import_graph.imports_of_parts()


def test_every_part_has_a_row():
    assert sorted(TABLE) == sorted(set(FOUND) - {'__init__'})
    assert FOUND['__init__'] == Imports()


@pytest.mark.parametrize('part', TABLE)
def test_a_part_imports_exactly_what_its_row_says(part):
    found = import_graph.cell(FOUND.get(part, Imports()))
    assert import_graph.cell(TABLE[part]) == found, f'the row of `{part}` should end with: {found}'


def test_a_part_imports_only_parts_above_it():
    floors = {part: number for number, part in enumerate(TABLE)}
    upward = [
        (part, other)
        for part, imports in FOUND.items()
        for other in imports.modules
        if floors[other] >= floors[part]
    ]
    assert not upward, upward


def test_no_files_import_each_other_in_a_circle():
    graph = {name: one.modules for name, one in import_graph.read_imports(False).items()}
    assert len(graph) > 100
    assert not import_graph.circles(graph)


def test_circles_are_found():
    graph = {'a': 'b', 'b': 'cd', 'c': 'a', 'd': 'e', 'e': '', 'f': 'f'}
    assert import_graph.circles(graph) == [['a', 'b', 'c'], ['f']]


def test_a_table_is_read_as_it_is_meant():
    text = f"""# Title
{import_graph.HEADING}
Words with `code`.

| part | job | may import |
| --- | --- | --- |
| `low.py`, `other` | what `it` does | nothing; libraries: `yaml` |
| `high/` | | `low`, `other` inside functions; libraries: `numpy`, `cv2` |

## Another heading
| `no` | | `row` |
"""
    assert import_graph.read_table(text) == {
        'low': Imports(set(), {'yaml'}),
        'other': Imports(set(), {'yaml'}),
        'high': Imports({'low', 'other'}, {'numpy', 'cv2'}),
    }


@pytest.mark.parametrize(
    ('statement', 'imports'),
    [
        ('import os', Imports()),
        ('import numpy.linalg', Imports(set(), {'numpy'})),
        ('from sensor_msgs.msg import Image', Imports(set(), {'ROS'})),
        ('from tam_ros.msg import Prompt', Imports(set(), {'ROS'})),
        ('from tam_ros import msg', Imports(set(), {'ROS'})),
        ('from tam_ros import catalogue', Imports({'tam_ros.catalogue'})),
        ('from tam_ros.tracking import Tracker', Imports({'tam_ros.tracking'})),
        ('from tam_ros.tracking import bank', Imports({'tam_ros.tracking.bank'})),
        ('def f():\n  import torch', Imports(set(), {'torch'})),
        ('if TYPE_CHECKING:\n  import torch\nelse:\n  import onnx', Imports(set(), {'onnx'})),
    ],
)
def test_imports_are_read_wherever_they_are(tmp_path, monkeypatch, statement, imports):
    path = tmp_path / 'one.py'
    path.write_text(statement)
    known = import_graph.modules()
    monkeypatch.setattr(import_graph, 'modules', lambda: known | {'tam_ros.one': path})
    assert import_graph.read_imports(types_too=False)['tam_ros.one'] == imports


@pytest.mark.parametrize(
    ('statement', 'absent'),
    [
        ('import tam_ros', HEAVY),
        ('import tam_ros.catalogue', HEAVY),
        # a robot that only runs exported graphs
        (
            'from tam_ros.tracking import Tracker',
            {'torch', 'onnx', 'onnxruntime', 'rclpy', 'rosbags'},
        ),
        (
            'from tam_ros.language import DenseClip, naming',
            {'torch', 'onnx', 'onnxruntime', 'rclpy', 'tokenizers'},
        ),
        ('from tam_ros.loading import open_exported', {'torch', 'onnx', 'rclpy'}),
        ('import tam_ros.cli', HEAVY),
        # `tam --help` at once: describing the commands imports nothing that takes time
        ('from tam_ros import cli; cli._parser()', HEAVY),
    ],
)
def test_what_an_import_brings_in(statement, absent):
    assert not absent & imported_by(statement)


def test_what_an_import_brings_in_is_seen():
    assert {'numpy', 'cv2'} <= imported_by('from tam_ros.tracking import Tracker')


def imported_by(statement: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after a statement."""
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; {statement}; print(*sys.modules)'],
        cwd=PACKAGE.parent,
        text=True,
        capture_output=True,
        check=True,
    )
    return set(done.stdout.split())
