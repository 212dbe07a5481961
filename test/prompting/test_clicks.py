# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The requests that clicks make, by mode, position and time."""

from __future__ import annotations

import pytest
from prompting.made_frames import SECOND, result_of, tracked

from tam_ros.prompting.clicks import Clicks
from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.session import Action
from tam_ros.tracking import PromptError

STAMP = 7 * SECOND
ONE, BOTH, TWO, NOWHERE = (12.0, 12.0), (25.0, 25.0), (35.0, 35.0), (70.0, 50.0)


@pytest.fixture
def images():
    """Objects 1 and 2, which overlap from (20, 20) to (30, 30), 2 on top."""
    published = PublishedImages()
    result = result_of(tracked(1, (10, 10, 30, 30)), tracked(2, (20, 20, 40, 40)))
    published.add(result, STAMP, '', 1.0)
    return published


ADD, INCLUDES, EXCLUDES = ('ADD', 0, 1), ('REFINE', 1, 1), ('REFINE', 1, 0)
# Each row: the mode, the object that an earlier click selected and the seconds since, the clicked
# pixel, and the expected request: action, object and label, or the object that is selected.
TABLE = [
    pytest.param('auto', 0, 0, NOWHERE, ADD, id='on the background'),
    pytest.param('auto', 0, 0, ONE, 1, id='on an object'),
    pytest.param('auto', 0, 0, BOTH, 2, id='on two objects: the top one'),
    pytest.param('auto', 1, 9, NOWHERE, ADD, id='late, on the background'),
    pytest.param('auto', 1, 9, ONE, 1, id='late, on the selected object'),
    pytest.param('auto', 1, 9, TWO, 2, id='late, on another object'),
    pytest.param('auto', 1, 1, NOWHERE, INCLUDES, id='soon, beside it'),
    pytest.param('auto', 1, 1, ONE, EXCLUDES, id='soon, on it'),
    pytest.param('auto', 1, 1, BOTH, EXCLUDES, id='soon, on it, under another'),
    pytest.param(
        'auto', 1, 1, TWO, INCLUDES, id='soon, on another object, which is part of this one'
    ),
    pytest.param('auto', 1, 3, NOWHERE, INCLUDES, id='at the end of the window'),
    pytest.param('auto', 9, 1, NOWHERE, ADD, id='the selected object is gone'),
    pytest.param('auto', 9, 1, ONE, 1, id='gone, on an object'),
    pytest.param('auto', 4, 1, ONE, ('REFINE', 4, 1), id='the selected object is not shown yet'),
    pytest.param('new', 0, 0, NOWHERE, ADD, id='new'),
    pytest.param('new', 1, 1, NOWHERE, ADD, id='new, soon'),
    pytest.param('new', 1, 1, ONE, ADD, id='new, on an object, of which it is a part'),
    pytest.param('include', 1, 9, NOWHERE, INCLUDES, id='include, at any time'),
    pytest.param('include', 1, 9, ONE, INCLUDES, id='include, on its mask'),
    pytest.param('exclude', 1, 9, NOWHERE, EXCLUDES, id='exclude, beside its mask'),
    pytest.param('exclude', 1, 1, ONE, EXCLUDES, id='exclude, on its mask'),
]


@pytest.mark.parametrize(('mode', 'selected', 'ago', 'where', 'expected'), TABLE)
def test_clicks(images, mode, selected, ago, where, expected):
    """Objects 1, 2 and 4 are tracked; the click window is three seconds."""
    clicks = Clicks()
    if selected:
        clicks.select(selected, now=100.0)
    request = clicks.request(where, images, {1, 2, 4}, mode, 3.0, now=100.0 + ago)
    if isinstance(expected, int):
        assert request == expected
        return
    assert (request.action.name, request.object_id, *request.point_labels) == expected
    assert request.points == (where,)
    assert request.stamp_ns == STAMP, 'the newest published image'


def test_an_object_selected_by_id_is_not_corrected_by_the_next_auto_click(images):
    """Selection by the service is for include and exclude; auto depends on the last click."""
    clicks = Clicks()
    clicks.select(1)
    request = clicks.request(NOWHERE, images, {1, 2}, 'auto', 3.0, now=0.0)
    assert request.action is Action.ADD
    assert clicks.request(NOWHERE, images, {1, 2}, 'include', 3.0, now=0.0).object_id == 1


@pytest.mark.parametrize('mode', ['include', 'exclude'])
def test_a_correction_needs_an_object(images, mode):
    clicks = Clicks()
    clicks.select(9)
    with pytest.raises(PromptError, match='none is selected'):
        clicks.request(ONE, images, {1, 2}, mode, 3.0, now=0.0)


def test_a_selection_ends_with_its_object():
    clicks = Clicks()
    clicks.select(3, now=0.0)
    assert clicks.selected({1, 3}) == 3
    assert clicks.selected({1}) == 0
    assert clicks.selected({1, 3}) == 0, 'not even if a reset has freed the id for a new object'


def test_a_removed_object_that_is_still_shown_is_background(images):
    assert Clicks().request(ONE, images, {2}, 'auto', 3.0, now=0.0).action is Action.ADD


def test_a_click_is_compared_with_the_mask_and_not_its_box():
    """The mask is an L: column 10 and row 49."""
    bent = tracked(1, (10, 10, 20, 50))
    bent.crop[:39, 1:] = False
    images = PublishedImages()
    images.add(result_of(bent), STAMP, '', 1.0)
    clicks = Clicks()
    clicks.select(1, now=0.0)
    for xy, label in (((10, 30), 0), ((19, 49), 0), ((15, 30), 1), ((19, 48), 1), ((20, 49), 1)):
        assert clicks.request(xy, images, {1}, 'auto', 3.0, now=0.0).point_labels == (label,), xy


def test_before_the_first_image():
    with pytest.raises(PromptError, match='no image has been tracked yet'):
        Clicks().request(ONE, PublishedImages(), set(), 'auto', 3.0, now=0.0)
