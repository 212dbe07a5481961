# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The table of parameters, and the documentation and the file that repeat it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')

from rclpy.parameter import Parameter as RosParameter  # noqa: E402

from tam_ros.ros.declaration import check_changes, markdown_table, unknown  # noqa: E402
from tam_ros.ros.parameters import PARAMETERS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


def ask(configured=True, **changes):
    """Ask for changes of a node whose parameters have their defaults."""
    wanted = [RosParameter(name, value=value) for name, value in changes.items()]
    return check_changes(wanted, DEFAULTS, configured)


def test_defaults_are_accepted():
    for parameter in PARAMETERS:
        assert parameter.refusal(parameter.default) is None


# Each row: a value that must be refused, and what the reason must say.
@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        pytest.param('model', '  ', 'must not be empty', id='blank text'),
        pytest.param('runtime', 'abacus', 'must be one of onnxruntime', id='not a choice'),
        pytest.param('prompt_history_seconds', -0.1, 'between 0.0 and 60.0', id='below the range'),
        pytest.param('prompt_history_seconds', 60.1, 'between 0.0 and 60.0', id='above the range'),
        pytest.param('prompt_history_seconds', float('nan'), 'between', id='not a number'),
        pytest.param('prompt_history_seconds', 1, 'must be a float', id='another number type'),
        pytest.param('max_objects', True, 'must be a int', id='truth is no number'),
        pytest.param('publish_masks', 'yes', 'must be a bool', id='text for a truth value'),
    ],
)
def test_values_that_mean_nothing_are_refused(name, value, words):
    result = ask(configured=False, **{name: value})
    assert not result.successful
    assert name in result.reason
    assert words in result.reason


def test_only_live_parameters_change_while_it_runs():
    for parameter in PARAMETERS:
        change = {parameter.name: parameter.default}
        assert ask(configured=False, **change).successful
        assert ask(configured=True, **change).successful == parameter.live


def test_one_bad_value_refuses_the_whole_request():
    assert not ask(time_jump=2.0, image_timeout=-1.0).successful


def test_values_that_do_not_go_together_are_refused():
    """An object is lost before it is removed; 0 never removes."""
    refused = ask(remove_after=1.0)
    assert not refused.successful
    assert 'lost_after is 2 s' in refused.reason
    assert ask(remove_after=1.0, lost_after=0.5).successful, 'both at once are fine'
    assert ask(remove_after=0.0, lost_after=9.0).successful


class Given:
    """As much of a node as has parameters that nobody declared."""

    def __init__(self, *names):
        self._parameter_overrides = dict.fromkeys(names)

    def has_parameter(self, name):
        return name in DEFAULTS or name == 'use_sim_time'


# Each row: a name in a parameter file, and what is said of it.
@pytest.mark.parametrize(
    ('name', 'words'),
    [
        pytest.param('lost_after', None, id='known'),
        pytest.param('use_sim_time', None, id='of every node'),
        pytest.param('qos_overrides./tf.subscription.depth', None, id='of another kind'),
        pytest.param('lostafter', 'did you mean lost_after?', id='mistyped'),
        pytest.param('confidence', 'no parameter confidence: it is ignored', id='of another tool'),
    ],
)
def test_parameters_that_do_not_exist_are_reported(name, words):
    sentences = unknown(Given(name))
    assert len(sentences) == (words is not None)
    assert all(words in sentence for sentence in sentences)


def test_foreign_parameters_are_left_alone():
    assert ask(use_sim_time=True).successful


def test_the_documentation_shows_this_table():
    assert markdown_table() in (ROOT / 'docs' / 'topics.md').read_text()


def test_the_parameter_file_names_every_parameter_with_its_default():
    file = yaml.safe_load((ROOT / 'config' / 'track.yaml').read_text())
    assert file['/**']['ros__parameters'] == {p.name: p.default for p in PARAMETERS}
