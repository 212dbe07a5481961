# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Imports point one way, and what a robot does not need is not imported (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'tam_ros'
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
# What each part may import of the package itself, at the top of its files or inside functions.
ALLOWED = {
    'models': {'models', 'catalogue', 'runtime'},
    'export': {'export', 'models', 'catalogue', 'runtime'},
    'runtime': {'runtime', 'models', 'export', 'plans', 'catalogue'},
    'plans': {'plans', 'runtime', 'catalogue'},
    'tracking': {'tracking', 'runtime'},
    'io': {'io'},
    'spatial': {'spatial'},
    'prompting': {'prompting', 'tracking'},
    'evaluation': {'evaluation', 'io', 'tracking'},
    'ros': {'ros', 'prompting', 'tracking', 'io', 'spatial', 'runtime', 'msg', 'srv'},
    'demo': {'demo', 'io', 'evaluation', 'catalogue', 'msg', 'ros'},
    'recordings': {'recordings', 'io', 'tracking'},
    'commands': {
        'commands',
        'recordings',
        'io',
        'tracking',
        'runtime',
        'export',
        'plans',
        'evaluation',
        'catalogue',
    },
}
# Libraries that a part must never import.
FORBIDDEN = {
    'plans': {'torch', 'onnx', 'rclpy'},
    'tracking': {'torch', 'onnx', 'rclpy', 'rosbags'},
    'io': {'torch', 'onnx', 'rclpy'},
    'spatial': {'torch', 'onnx', 'rclpy', 'rosbags'},
    'prompting': {'torch', 'onnx', 'rclpy', 'rosbags', 'cv2'},
    'evaluation': {'torch', 'rclpy'},
    'ros': {'torch', 'onnx', 'onnxruntime', 'openvino', 'tensorrt', 'pycuda'},
    'demo': {'torch', 'onnx', 'onnxruntime', 'openvino'},
    'recordings': {'torch', 'onnx', 'onnxruntime', 'openvino', 'rclpy'},
    'commands': {'torch', 'onnx', 'onnxruntime', 'openvino', 'rclpy'},
}


def imports(part: str) -> dict[str, set[str]]:
    """Return the modules each file of a part imports, wherever in the file."""
    found = {}
    for path in (PACKAGE / part).rglob('*.py'):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
                names |= {
                    f'{node.module}.{alias.name}'
                    for alias in node.names
                    if node.module == 'tam_ros'
                }
        found[str(path.relative_to(PACKAGE))] = names
    assert found, part
    return found


@pytest.mark.parametrize('part', ALLOWED)
def test_parts_import_only_what_they_may(part):
    for file, names in imports(part).items():
        parts = {name.split('.')[1] for name in names if name.startswith('tam_ros.')}
        parts.discard('__version__')
        assert parts <= ALLOWED[part], (file, parts - ALLOWED[part])
        libraries = {name.split('.')[0] for name in names}
        assert not libraries & FORBIDDEN.get(part, set()), file


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
        ('from tam_ros.loading import open_exported', {'torch', 'onnx', 'rclpy'}),
        ('import tam_ros.cli', HEAVY),
        # `tam --help` at once: describing the commands imports nothing that takes time
        ('from tam_ros import cli; cli._parser()', HEAVY),
    ],
)
def test_what_an_import_brings_in(statement, absent):
    assert not absent & imported_by(statement)


def test_the_look_at_imports_sees_them():
    assert {'numpy', 'cv2'} <= imported_by('from tam_ros.tracking import Tracker')


def imported_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after a statement."""
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; {statement}; print(*sys.modules)'],
        cwd=PACKAGE.parent,
        text=True,
        capture_output=True,
        check=True,
    )
    return set(done.stdout.split())
