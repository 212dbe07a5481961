"""The table of parameters, and the documentation and the file that repeat it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')

from rclpy.parameter import Parameter as RosParameter  # noqa: E402

from tam_ros.ros.parameters import PARAMETERS, check_changes, markdown_table  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def test_defaults_are_accepted():
    for parameter in PARAMETERS:
        assert parameter.refusal(parameter.default) is None


# Each row: a value that must be refused, and what the reason must say.
@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        pytest.param('model', '  ', 'must not be empty', id='blank text'),
        pytest.param('runtime', 'abacus', 'must be one of onnxruntime', id='not a choice'),
        pytest.param('recall_seconds', -0.1, 'between 0.0 and 60.0', id='below the range'),
        pytest.param('recall_seconds', 60.1, 'between 0.0 and 60.0', id='above the range'),
        pytest.param('recall_seconds', float('nan'), 'between', id='not a number'),
        pytest.param('recall_seconds', 1, 'must be a float', id='another number type'),
        pytest.param('max_objects', True, 'must be a int', id='truth is no number'),
        pytest.param('publish_masks', 'yes', 'must be a bool', id='text for a truth value'),
    ],
)
def test_values_that_mean_nothing_are_refused(name, value, words):
    result = check_changes([RosParameter(name, value=value)], configured=False)
    assert not result.successful
    assert name in result.reason
    assert words in result.reason


def test_only_live_parameters_change_while_it_runs():
    for parameter in PARAMETERS:
        changes = [RosParameter(parameter.name, value=parameter.default)]
        assert check_changes(changes, configured=False).successful
        assert check_changes(changes, configured=True).successful == parameter.live


def test_one_bad_value_refuses_the_whole_request():
    changes = [RosParameter('time_jump', value=2.0), RosParameter('time_jump', value=-1.0)]
    assert not check_changes(changes, configured=True).successful


def test_foreign_parameters_are_left_alone():
    assert check_changes([RosParameter('use_sim_time', value=True)], configured=True).successful


def test_the_documentation_shows_this_table():
    assert markdown_table() in (ROOT / 'docs' / 'topics.md').read_text()


def test_the_parameter_file_names_every_parameter_with_its_default():
    file = yaml.safe_load((ROOT / 'config' / 'track.yaml').read_text())
    assert file['/**']['ros__parameters'] == {p.name: p.default for p in PARAMETERS}
