# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The parameters, and the documentation and the file that repeat them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from rclpy.parameter import Parameter as RosParameter

from tam_ros.regular_file import UnsuitableFileError
from tam_ros.ros.declaration import apply_changes, markdown_table, unknown_parameter_warnings
from tam_ros.ros.parameters import PARAMETERS, Parameters, tracker_options, weights_to_open
from tam_ros.tracking import TrackerOptions
from tam_ros.tracking.options import FIXED

ROOT = Path(__file__).resolve().parents[2]
NAMES = {parameter.name for parameter in PARAMETERS}
OPTIONS = {option.name for option in fields(TrackerOptions)}


def change(configured=True, **changes):
    """Change parameters that have their defaults."""
    wanted = [RosParameter(name, value=value) for name, value in changes.items()]
    return apply_changes(Parameters(), wanted, configured)


def test_defaults_are_valid():
    for parameter in PARAMETERS:
        assert parameter.reason_to_refuse(parameter.default) is None


# Each row: a value that must be refused, and words of the reason.
@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        pytest.param('model', '  ', 'must not be empty', id='blank text'),
        pytest.param('runtime', 'abacus', 'must be one of onnxruntime', id='not a choice'),
        pytest.param('prompt_history_seconds', -0.1, 'between 0.0 and 60.0', id='below the range'),
        pytest.param('prompt_history_seconds', 60.1, 'between 0.0 and 60.0', id='above the range'),
        pytest.param('prompt_history_seconds', float('nan'), 'between', id='not a number'),
        pytest.param('model', 5, "type string: put it in quotes, '5'", id='a number for text'),
        pytest.param(
            'model', 'eficienttam_nano', 'did you mean efficienttam_nano', id='mistyped model'
        ),
        pytest.param('max_objects', 2.0, 'must be of type integer', id='another number type'),
        pytest.param('max_objects', True, 'must be of type integer', id='bool for a number'),
        pytest.param('publish_masks', 'yes', 'must be of type bool', id='text for a bool'),
        pytest.param(
            'allowed_weights_dir', '/nowhere', 'absolute path of a folder', id='no folder'
        ),
        pytest.param('allowed_weights_dir', '.', 'absolute path of a folder', id='relative'),
        pytest.param(
            'prompt_model', 'edgetam', 'edgetam is a tracker: choose edgesam', id='tracker'
        ),
        pytest.param('segment_model', 'edgesan', 'did you mean edgesam', id='mistyped segmenter'),
    ],
)
def test_invalid_values_are_refused(name, value, words):
    with pytest.raises(ValueError, match=f'^{name}.*{re.escape(words)}'):
        change(configured=False, **{name: value})


def test_only_live_parameters_change_while_it_runs():
    for parameter in PARAMETERS:
        default = {parameter.name: parameter.default}
        assert change(configured=False, **default) == Parameters()
        if parameter.live:
            assert change(configured=True, **default) == Parameters()
        else:
            with pytest.raises(ValueError, match='is read when the node configures'):
                change(configured=True, **default)


def test_a_change_has_the_new_values():
    assert change(lost_after=0.5, publish_masks=True) == Parameters(
        lost_after=0.5, publish_masks=True
    )


def test_one_bad_value_refuses_the_whole_request():
    with pytest.raises(ValueError, match='image_timeout'):
        change(time_jump=2.0, image_timeout=-1.0)


def test_contradicting_values_are_refused():
    """An object is lost before it is removed; 0 never removes."""
    with pytest.raises(ValueError, match='lost_after is 2 s'):
        change(remove_after=1.0)
    assert change(remove_after=1.0, lost_after=0.5).remove_after == 1.0
    assert change(remove_after=0.0, lost_after=9.0).lost_after == 9.0
    with pytest.raises(ValueError, match='no depth is between them'):
        change(depth_min=10.0)


class Given:
    """The part of a node with parameters that are not declared."""

    def __init__(self, *names):
        self._parameter_overrides = dict.fromkeys(names)

    def has_parameter(self, name):
        return name in NAMES or name == 'use_sim_time'


# Each row: a name in a parameter file, and words of the warning.
@pytest.mark.parametrize(
    ('name', 'words'),
    [
        pytest.param('lost_after', None, id='known'),
        pytest.param('use_sim_time', None, id='of every node'),
        pytest.param('qos_overrides./tf.subscription.depth', None, id='of another kind'),
        pytest.param('lostafter', 'did you mean lost_after?', id='mistyped'),
        pytest.param('confidence', 'no parameter confidence, it is ignored', id='of another tool'),
    ],
)
def test_parameters_that_do_not_exist_are_reported(name, words):
    warnings = unknown_parameter_warnings(Given(name))
    assert len(warnings) == (words is not None)
    assert all(words in warning for warning in warnings)


def test_one_further_model_at_most():
    assert Parameters().second_model == ''
    assert Parameters(prompt_model='edgesam').second_model == 'edgesam'
    both = Parameters(segment_model='edgesam', prompt_model='edgesam')
    assert both.second_model == 'edgesam' and both.conflict() is None
    conflict = Parameters(segment_model='other', prompt_model='edgesam').conflict()
    assert conflict == (
        'segment_model is other and prompt_model edgesam: only one further model can be open'
    )


def test_parameters_set_the_options_of_the_tracker():
    given = Parameters(max_objects=3, resize='pil', catch_up=9, lost_after=0.5, remove_after=7.0)
    assert tracker_options(given) == TrackerOptions(
        max_objects=3,
        resize='pil',
        catch_up=9,
        lost_after=0.5,
        remove_after=7.0,
        prompt_history_seconds=given.prompt_history_seconds,
    )
    assert tracker_options(Parameters(remove_after=0.0)).remove_after is None


def test_a_parameter_is_live_if_the_tracker_can_change_its_option():
    assert {'max_conditioning', 'prompt_history_frames'} == OPTIONS - NAMES
    fixed = {parameter.name for parameter in PARAMETERS if not parameter.live}
    assert set(FIXED) - (OPTIONS - NAMES) == fixed & OPTIONS


def test_weights_are_opened_from_the_allowed_folder_alone(tmp_path):
    (tmp_path / 'weights.pt').write_bytes(b'')
    (tmp_path / 'link').symlink_to('weights.pt')
    allowed = str(tmp_path)
    assert weights_to_open(Parameters(weights='anywhere.pt')) == 'anywhere.pt'
    assert weights_to_open(Parameters(allowed_weights_dir=allowed)) is None
    inside = Parameters(weights=f'{allowed}/link', allowed_weights_dir=allowed)
    assert weights_to_open(inside) == f'{allowed}/weights.pt'
    for outside in ('anywhere.pt', '/etc/passwd', f'{allowed}/..', 'untrained'):
        with pytest.raises(UnsuitableFileError, match='is not in'):
            weights_to_open(Parameters(weights=outside, allowed_weights_dir=allowed))


def test_weights_of_every_model_are_opened_from_the_allowed_folder():
    names = {name for name in NAMES if name.endswith('weights')}
    assert {'weights', 'segment_weights', 'detector_weights'} <= names
    for path in (ROOT / 'tam_ros' / 'ros').rglob('*.py'):
        if path.name != 'parameters.py':
            text = path.read_text()
            checked = set(re.findall(r'weights_to_open\(parameters, parameters\.(\w+)\)', text))
            used = set(re.findall(r'\b(?:parameters|current|values)\.(\w*weights)\b', text))
            assert used <= checked, f'{path} reads {used - checked} without the check'


def test_other_parameters_are_ignored():
    assert change(use_sim_time=True) == Parameters()


def test_the_documentation_has_this_table():
    assert markdown_table() in (ROOT / 'docs' / 'topics.md').read_text()


def test_the_parameter_file_names_every_parameter_with_its_default():
    file = yaml.safe_load((ROOT / 'config' / 'track.yaml').read_text())
    assert file['/**']['ros__parameters'] == {p.name: p.default for p in PARAMETERS}
