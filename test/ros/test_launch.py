"""The launch files, as far as they can be tried without `launch`; as a whole where it is there."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / 'launch'
FILES = sorted(LAUNCH.glob('*.launch.py'))


@pytest.fixture
def load():
    pytest.importorskip('launch_ros', reason='launch and launch_ros are not installed here')

    def load(path):
        spec = importlib.util.spec_from_file_location(path.stem.replace('.', '_'), path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_there_are_launch_files():
    assert [path.name for path in FILES] == ['demo.launch.py', 'track.launch.py']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_they_compile(path):
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 'generate_launch_description' in functions


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_they_describe_every_argument(path, load):
    description = load(path).generate_launch_description()
    for argument in description.get_launch_arguments():
        assert argument.description
        assert argument.default_value is not None


def test_the_arguments_are_parameters_with_the_same_defaults(load):
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    from tam_ros.ros.parameters import PARAMETERS

    defaults = {parameter.name: parameter.default for parameter in PARAMETERS}
    arguments = load(LAUNCH / 'track.launch.py').ARGUMENTS
    shared = arguments.keys() & defaults.keys()
    assert shared == {'image_transport', 'model', 'weights', 'runtime'}
    for name in shared:
        assert arguments[name][0] == defaults[name]
