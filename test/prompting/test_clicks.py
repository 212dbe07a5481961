# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a click means."""

from __future__ import annotations

import pytest
from prompting.scenery import SECOND, shown, tracked

from tam_ros.prompting.clicks import Clicks
from tam_ros.prompting.request import Action
from tam_ros.prompting.scenes import Scenes
from tam_ros.tracking import PromptError

STAMP = 7 * SECOND
ONE, BOTH, TWO, NOWHERE = (12.0, 12.0), (25.0, 25.0), (35.0, 35.0), (70.0, 50.0)


@pytest.fixture
def scenes():
    """Objects 1 and 2, which lie over each other at (20, 20) to (30, 30), 2 on top."""
    made = Scenes()
    made.add(shown(tracked(1, (10, 10, 30, 30)), tracked(2, (20, 20, 40, 40))), STAMP, '', 1.0)
    return made


ADD, KEEP, DROP = ('ADD', 0, 1), ('REFINE', 1, 1), ('REFINE', 1, 0)
# Each row: the mode, the object that an earlier click selected and seconds since, where the click
# is, and what it asks for: action, object and label, or the object that it selects.
TABLE = [
    pytest.param('auto', 0, 0, NOWHERE, ADD, id='beside everything'),
    pytest.param('auto', 0, 0, ONE, 1, id='on an object'),
    pytest.param('auto', 0, 0, BOTH, 2, id='on two: the one on top'),
    pytest.param('auto', 1, 9, NOWHERE, ADD, id='late, beside everything'),
    pytest.param('auto', 1, 9, ONE, 1, id='late, on the selected object'),
    pytest.param('auto', 1, 9, TWO, 2, id='late, on another object'),
    pytest.param('auto', 1, 1, NOWHERE, KEEP, id='soon, beside it'),
    pytest.param('auto', 1, 1, ONE, DROP, id='soon, on it'),
    pytest.param('auto', 1, 1, BOTH, DROP, id='soon, on it, under another'),
    pytest.param('auto', 1, 1, TWO, KEEP, id='soon, on another object: it is part of this one'),
    pytest.param('auto', 1, 3, NOWHERE, KEEP, id='just in time'),
    pytest.param('auto', 9, 1, NOWHERE, ADD, id='the selected object is gone'),
    pytest.param('auto', 9, 1, ONE, 1, id='gone, on an object'),
    pytest.param('auto', 4, 1, ONE, ('REFINE', 4, 1), id='the selected object is not shown yet'),
    pytest.param('new', 0, 0, NOWHERE, ADD, id='new'),
    pytest.param('new', 1, 1, NOWHERE, ADD, id='new, soon'),
    pytest.param('new', 1, 1, ONE, ADD, id='new, on an object: a part of it'),
    pytest.param('include', 1, 9, NOWHERE, KEEP, id='include, however late'),
    pytest.param('include', 1, 9, ONE, KEEP, id='include, on its mask'),
    pytest.param('exclude', 1, 9, NOWHERE, DROP, id='exclude, beside its mask'),
    pytest.param('exclude', 1, 1, ONE, DROP, id='exclude, on its mask'),
]


@pytest.mark.parametrize(('mode', 'selected', 'ago', 'where', 'expected'), TABLE)
def test_clicks(scenes, mode, selected, ago, where, expected):
    """Objects 1, 2 and 4 are followed; a window of three seconds."""
    clicks = Clicks()
    if selected:
        clicks.select(selected, now=100.0)
    request = clicks.request(where, scenes, {1, 2, 4}, mode, 3.0, now=100.0 + ago)
    if isinstance(expected, int):
        assert request == expected
        return
    assert (request.action.name, request.object_id, *request.labels) == expected
    assert request.points == (where,)
    assert request.stamp_ns == STAMP, 'the newest published image'


def test_an_object_chosen_by_name_is_not_corrected_by_the_next_click(scenes):
    """The service selects for include and exclude; auto goes on from the operator's own clicks."""
    clicks = Clicks()
    clicks.select(1)
    request = clicks.request(NOWHERE, scenes, {1, 2}, 'auto', 3.0, now=0.0)
    assert request.action is Action.ADD
    assert clicks.request(NOWHERE, scenes, {1, 2}, 'include', 3.0, now=0.0).object_id == 1


@pytest.mark.parametrize('mode', ['include', 'exclude'])
def test_a_correction_needs_an_object(scenes, mode):
    clicks = Clicks()
    clicks.select(9)
    with pytest.raises(PromptError, match='none is selected'):
        clicks.request(ONE, scenes, {1, 2}, mode, 3.0, now=0.0)


def test_a_selection_ends_with_its_object():
    clicks = Clicks()
    clicks.select(3, now=0.0)
    assert clicks.selected({1, 3}) == 3
    assert clicks.selected({1}) == 0
    assert clicks.selected({1, 3}) == 0, 'also if the id came back after a reset'


def test_a_removed_object_that_is_still_shown_is_background(scenes):
    assert Clicks().request(ONE, scenes, {2}, 'auto', 3.0, now=0.0).action is Action.ADD


def test_a_click_is_on_the_mask_and_not_only_in_its_box():
    """An L: column 10 and row 49."""
    bent = tracked(1, (10, 10, 20, 50))
    bent.mask[10:49, 11:20] = False
    scenes = Scenes()
    scenes.add(shown(bent), STAMP, '', 1.0)
    clicks = Clicks()
    clicks.select(1, now=0.0)
    for xy, label in (((10, 30), 0), ((19, 49), 0), ((15, 30), 1), ((19, 48), 1), ((20, 49), 1)):
        assert clicks.request(xy, scenes, {1}, 'auto', 3.0, now=0.0).labels == (label,), xy


def test_before_the_first_image():
    with pytest.raises(PromptError, match='no image has been tracked yet'):
        Clicks().request(ONE, Scenes(), set(), 'auto', 3.0, now=0.0)
