# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the diagnostics' own thread reads of the tracker; its messages are in test_status.py."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from tam_ros.prompting.session import SessionState
from tam_ros.ros.diagnostics.health import Health


class Log:
    """A node whose log is a list of warnings."""

    def __init__(self):
        self.warnings = []

    def get_logger(self):
        return SimpleNamespace(warning=lambda text, **_: self.warnings.append(text))


def health(answer, inference=None):
    """Return the part of Health that reads the state, with an answer that has arrived."""
    return SimpleNamespace(
        _scheduled=answer, _inference=inference, _session_state=SessionState(), _node=Log()
    )


def answered(value=None, error=None, cancelled=False):
    future = Future()
    if cancelled:
        future.cancel()
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
    return future


def test_the_state_is_read_and_requested_again():
    state = SessionState(3)
    requested = Future()
    inference = SimpleNamespace(schedule=lambda read: requested)
    part = health(answered(state), inference)
    Health._update_session_state(part)
    assert part._session_state is state and part._scheduled is requested
    Health._update_session_state(part)  # not answered yet
    assert part._session_state is state and part._scheduled is requested


@pytest.mark.parametrize(
    ('answer', 'warnings'),
    [
        (
            answered(error=RuntimeError('device lost')),
            ['the state of the tracker cannot be read: device lost'],
        ),
        (answered(cancelled=True), []),  # the tracker is being closed
    ],
)
def test_a_state_that_cannot_be_read(answer, warnings):
    part = health(answer)
    Health._update_session_state(part)
    assert part._node.warnings == warnings
    assert part._session_state == SessionState() and part._scheduled is None


def test_the_log_says_when_few_ids_are_left():
    part = health(None)
    Health._check_ids(part)
    part._session_state = SessionState(used_ids=65_000)
    Health._check_ids(part)
    assert part._node.warnings == [
        '535 of 65535 ids are left for new objects: ~/reset when that is possible'
    ]
