# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The port of the inputs: what is refused while nothing is tracked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tam_ros.prompting.session import Action, Answer, PromptRequest
from tam_ros.ros.diagnostics.statistics import Statistics
from tam_ros.ros.inputs.source import InputPort

ADD = PromptRequest(Action.ADD, points=((1.0, 2.0),), point_labels=(1,))
ACTIVATE = 'the node is not active, so nothing is tracked: ros2 lifecycle set /cam/tracks activate'


class Session:
    """A session that accepts everything, and the thread that owns it."""

    def __init__(self):
        self.asked = []

    def call(self, function):
        return function(self)

    def submit_prompt(self, request, newest_received_ns):
        self.asked.append(request.action.name)
        return Answer(True, 1, '')

    def reset(self):
        self.asked.append('reset')
        return Answer(True, 0, '')


@pytest.fixture
def port():
    node = SimpleNamespace(get_fully_qualified_name=lambda: '/cam/tracks')
    return InputPort(node, None, None, Statistics())


def test_without_a_model_everything_is_refused(port):
    for answer in (port.submit(ADD), port.reset()):
        assert not answer.success
        assert 'not configured' in answer.message
        assert answer.message.endswith('ros2 lifecycle set /cam/tracks configure')


def test_before_it_is_active_objects_can_only_be_removed(port):
    session = Session()
    port.attach(session)
    for action in (Action.ADD, Action.REFINE, Action.REPLACE):
        assert port.submit(PromptRequest(action, 1)) == Answer(False, 0, ACTIVATE)
    assert port.call_in_tracker(lambda session: Answer(True, 1, '')).message == ACTIVATE
    assert port.submit(PromptRequest(Action.REMOVE, 1)).success
    assert port.reset().success
    assert session.asked == ['REMOVE', 'reset']


def test_it_takes_prompts_while_it_is_active(port):
    port.attach(Session())
    port.activate()
    assert port.reason_not_tracking == ''
    assert port.submit(ADD).success
    port.deactivate()
    assert port.submit(ADD).message == ACTIVATE
