# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The command line of the node, and what is wrong with it in one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tam_ros.ros import command_line
from tam_ros.ros.command_line import CommandLineError, origin_of, read_arguments


def test_the_help(ros, capsys):
    with pytest.raises(SystemExit) as end:
        read_arguments(['track_node', '--help'])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert 'Tracks objects in an image topic' in text
    assert 'model (efficienttam_nano): Name of the model' in text
    assert '-r image:=/camera/image_raw' in text


def test_ros_arguments_are_left_to_ros(ros):
    read_arguments(['track_node', '--ros-args', '-p', 'model:=x', '-r', 'image:=/x'])


@pytest.mark.parametrize('wrong', ['model=x', '--model', 'my.yaml'])
def test_arguments_that_nobody_reads_are_refused(ros, wrong):
    with pytest.raises(CommandLineError, match='follow --ros-args'):
        read_arguments(['track_node', wrong])


# Each row: a parameter file (None: it does not exist), and words of the refusal.
@pytest.mark.parametrize(
    ('text', 'words'),
    [
        pytest.param(None, 'does not exist', id='missing'),
        pytest.param('/**:\n  ros__parameters:\n    lost_after: [2\n', 'line 3', id='no YAML'),
        pytest.param('lost_after: 2.0\n', 'below the keys', id='without a node'),
        pytest.param('/**:\n  ros__parameters:\n    depth_max:\n', 'No value at', id='no value'),
    ],
)
def test_a_parameter_file_that_cannot_be_read(ros, tmp_path, text, words):
    file = tmp_path / 'my parameters.yaml'
    if text is not None:
        file.write_text(text)
    with pytest.raises(CommandLineError) as error:
        read_arguments(['track_node', '--ros-args', '--params-file', str(file)])
    message = str(error.value)
    assert message.startswith(f'the parameter file {file} ')
    assert words in message
    assert '\n' not in message
    assert '.c:' not in message, 'places in the source of rcl'


def test_rules_that_cannot_be_read(ros):
    with pytest.raises(CommandLineError, match='^-p lost_after cannot be read.*-p NAME:=VALUE'):
        read_arguments(['track_node', '--ros-args', '-p', 'lost_after'])


def test_the_origin_of_a_parameter(tmp_path):
    first, second = tmp_path / 'first.yaml', tmp_path / 'second.yaml'
    first.write_text('/**:\n  ros__parameters:\n    lost_after: 1\n    model: 5\n')
    second.write_text('# my file\n/**:\n  ros__parameters: {}\n    "lost_after": 2\n')
    args = ['track_node', '--ros-args', '--params-file', str(first), '--params-file', str(second)]
    assert origin_of('model', args) == f'{first}, line 4: '
    assert origin_of('lost_after', args) == f'{second}, line 4: '
    assert origin_of('after', args) == ''
    assert origin_of('model', ['track_node']) == ''


# Each row: the environment, and the start of what is said; None: log files can be written.
@pytest.mark.parametrize(
    ('environment', 'words'),
    [
        pytest.param({}, 'HOME is not set', id='no HOME'),
        pytest.param({'HOME': ''}, 'HOME is not set', id='empty HOME'),
        pytest.param({'HOME': '{tmp}'}, None, id='HOME'),
        pytest.param({'ROS_LOG_DIR': '{tmp}/a/b'}, None, id='made'),
        pytest.param({'ROS_HOME': '{tmp}/home'}, None, id='ROS_HOME'),
        pytest.param(
            {'ROS_LOG_DIR': '/proc/x', 'HOME': '{tmp}'}, '/proc/x cannot', id='no folder'
        ),
    ],
)
def test_log_folders(monkeypatch, tmp_path, environment, words):
    for name in ('ROS_LOG_DIR', 'ROS_HOME', 'HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace('{tmp}', str(tmp_path)))
    problem = command_line._log_folder_problem()
    assert (problem is None) == (words is None)
    assert not words or problem.startswith(words)
    assert not [name for _, _, names in os.walk(tmp_path) for name in names], 'nothing is left'


def test_the_node_starts_without_a_home(start):
    """As in a container whose user is not in /etc/passwd."""
    environment = {'HOME': '', 'ROS_LOG_DIR': '', 'ROS_HOME': ''}
    node = start('-p', 'model:=missing', **environment)
    assert node.process.wait(20) == 1
    assert 'no log file is written: HOME is not set; ROS_LOG_DIR sets the folder' in node.log
    assert "no model 'missing' in the catalogue" in node.log
    assert 'Traceback' not in node.log


def test_help_of_the_node_that_is_started(ros):
    done = subprocess.run(
        [sys.executable, '-m', 'tam_ros.ros.track_node', '-h'],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('usage: track_node')
