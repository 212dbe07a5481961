# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The last prompt of a browser can be undone."""

from __future__ import annotations

import pytest

from tam_ros.page.history import PromptHistory, Removal, Renewal, Step, UndoError
from tam_ros.page.protocol import Prompt

ON, OFF = (10.0, 10.0, 1), (20.0, 20.0, 0)
BOX = (1.0, 2.0, 3.0, 4.0)


def prompt(object_id=0, *points, stamp=100, box=None):
    return Prompt(1, '/a', stamp, object_id, points, box)


@pytest.fixture
def history():
    return PromptHistory()


def test_a_new_object_is_removed(history):
    history.accepted(1, prompt(0, ON), 3)
    assert history.undo(1) == Removal(3)


def test_a_correction_is_undone_by_all_other_prompts(history):
    history.accepted(1, prompt(0, ON, box=BOX), 3)
    history.accepted(2, prompt(3, OFF), 3)
    history.accepted(1, prompt(3, ON, stamp=200), 3)
    history.accepted(1, prompt(3, OFF, stamp=300), 3)
    history.accepted(1, prompt(0, ON), 4)
    history.accepted(2, prompt(4, OFF), 4)
    assert history.undo(1) == Removal(4)
    history.removed(4)
    steps = (Step(100, (ON, OFF), BOX), Step(200, (ON,), None))
    assert history.undo(1) == Renewal(3, steps)
    history.undone(1)
    assert history.undo(1) == Renewal(3, (Step(100, (ON, OFF), BOX),))
    assert history.undo(2) == Renewal(3, (Step(100, (ON,), BOX), Step(200, (ON,), None)))


def test_what_cannot_be_undone(history):
    with pytest.raises(UndoError, match='nothing to undo'):
        history.undo(1)
    history.accepted(1, prompt(7, OFF), 7)
    with pytest.raises(UndoError, match='object 7 was not added on this page'):
        history.undo(1)
    with pytest.raises(UndoError, match='nothing to undo'):
        history.undo(2)
    history.clear()
    with pytest.raises(UndoError, match='nothing to undo'):
        history.undo(1)


def test_an_id_that_begins_again_has_no_old_prompts(history):
    history.accepted(1, prompt(0, ON), 1)
    history.accepted(1, prompt(1, OFF), 1)
    history.accepted(1, prompt(0, ON), 1)  # the node was restarted
    assert history.undo(1) == Removal(1)
    assert len(history._accepted) == 1
