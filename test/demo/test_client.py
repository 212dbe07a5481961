# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The operator's prompts as messages, and the demo's own corner of the network."""

import os

import pytest

from tam_ros.demo import __main__ as demo
from tam_ros.prompting.prompt_text import parse_prompts


@pytest.fixture
def messages():
    pytest.importorskip('rclpy', reason='ROS 2 is not in this environment; run `make test`')
    pytest.importorskip('tam_ros.msg', reason='our messages are not compiled; run `make test`')
    from tam_ros.demo.client import group_prompts

    return lambda text: group_prompts(parse_prompts(text))


def test_prompts_of_one_object_and_frame_are_one_message(messages):
    ((frame, message),) = messages('4:point:10,20;30,40,0;4:box:1,2,50,60')
    assert (frame, message.object_id, message.action) == (0, 4, message.ADD)
    assert [(point.x, point.y) for point in message.points] == [(10, 20), (30, 40)]
    assert list(message.point_labels) == [1, 0]
    assert list(message.box) == [1, 2, 50, 60]


def test_the_first_prompt_of_an_object_adds_it_and_later_ones_refine(messages):
    grouped = messages('1:point:5,5@9;2:point:6,6;1:point:7,7@3;2:point:8,8,0@9')
    summary = [(frame, m.object_id, m.action == m.ADD) for frame, m in grouped]
    assert summary == [(0, 2, True), (3, 1, True), (9, 1, False), (9, 2, False)]


@pytest.fixture
def environment(monkeypatch):
    """Let the demo change the environment as it likes; it is put back afterwards."""
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    os.environ.pop('FASTRTPS_DEFAULT_PROFILES_FILE', None)
    return os.environ


@pytest.mark.parametrize(('free', 'shared'), [(10**9, True), (64 * 2**20, False), (0, False)])
def test_images_go_through_shared_memory_where_there_is_enough(
    environment, monkeypatch, tmp_path, free, shared
):
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = '/from/env.sh'
    monkeypatch.setattr(demo, '_free_shared_memory', lambda: free)
    demo._isolate(tmp_path)
    assert ('FASTRTPS_DEFAULT_PROFILES_FILE' in environment) == shared
    assert (environment.get('FASTDDS_BUILTIN_TRANSPORTS') == 'UDPv4') != shared


def test_the_demo_keeps_to_itself(environment, tmp_path):
    demo._isolate(tmp_path)
    assert 0 < int(environment['ROS_DOMAIN_ID']) <= 101  # what every operating system can do
    assert environment['ROS_LOG_DIR'] == str(tmp_path / 'logs')
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert environment['FASTRTPS_DEFAULT_PROFILES_FILE'].endswith('config/fastdds_images.xml')
