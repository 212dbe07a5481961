# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompt messages to requests and prompts of the tracker."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from tam_ros.client.results import make_prompt
from tam_ros.interfaces import MAX_POINTS
from tam_ros.msg import Prompt
from tam_ros.prompting.session import Action
from tam_ros.ros.conversions import array_to_image
from tam_ros.ros.inputs.prompts import describe, read_prompt
from tam_ros.tracking import PromptError

NAN = float('nan')
POINTS = [Point(x=1.0, y=2.0), Point(x=3.5, y=4.5)]
MASK = array_to_image(np.eye(4, dtype=np.uint8), 'mono8', Header())


def test_the_actions_are_those_of_the_message():
    for action in Action:
        assert getattr(Prompt, action.name) == action


def test_points():
    prompt = read_prompt(Prompt(points=POINTS, point_labels=[1, 0])).prompt(5)
    assert prompt.object_id == 5
    assert prompt.points_xy.tolist() == [[1.0, 2.0], [3.5, 4.5]]
    assert prompt.labels.tolist() == [1, 0]
    assert not prompt.replace


def test_points_without_labels_are_all_on_the_object():
    assert read_prompt(Prompt(points=POINTS)).point_labels == (1, 1)


@pytest.mark.parametrize('field', ['points', 'point_labels'])
def test_long_arrays_are_refused_by_their_length(field):
    many = {'points': POINTS[:1], 'point_labels': [1]}[field] * (MAX_POINTS + 1)
    with pytest.raises(PromptError, match='257 points or point_labels; the limit is 256'):
        read_prompt(Prompt(**{field: many}))


def test_the_limit_is_that_of_the_message_and_the_client_checks_it():
    bound = f', {MAX_POINTS}>'
    kinds = Prompt.get_fields_and_field_types()
    assert kinds['points'].endswith(bound) and kinds['point_labels'].endswith(bound)
    points = [(1.0, 2.0)] * MAX_POINTS
    assert len(make_prompt(Prompt.ADD, 0, points).points) == MAX_POINTS
    with pytest.raises(ValueError, match='257 points or labels'):
        make_prompt(Prompt.ADD, 0, [*points, (1.0, 2.0)])


def test_a_box_with_and_without_points():
    box = [10.0, 20.0, 30.0, 40.0]
    alone = read_prompt(Prompt(box=box)).prompt(1)
    assert alone.points_xy.tolist() == [[10.0, 20.0], [30.0, 40.0]]
    assert alone.labels.tolist() == [2, 3]
    both = read_prompt(Prompt(box=box, points=POINTS[:1], point_labels=[0])).prompt(1)
    assert both.points_xy.tolist() == [[10.0, 20.0], [30.0, 40.0], [1.0, 2.0]]
    assert both.labels.tolist() == [2, 3, 0]


def test_a_box_at_the_corner_of_the_image_is_a_box():
    assert read_prompt(Prompt(box=[0.0, 0.0, 5.0, 5.0])).box == (0, 0, 5, 5)


def test_a_mask():
    prompt = read_prompt(Prompt(mask=MASK)).prompt(1)
    assert (prompt.mask_image == np.eye(4, dtype=bool)).all()


# Each row: a message, and what the log says if it is accepted.
@pytest.mark.parametrize(
    ('message', 'text'),
    [
        pytest.param(
            Prompt(points=POINTS, name='mug'), 'object 7 (mug) is added (2 points)', id='points'
        ),
        pytest.param(
            Prompt(box=[1.0, 2.0, 3.0, 4.0], points=POINTS[:1], action=Prompt.REFINE, object_id=7),
            'object 7 is refined (1 point and a box)',
            id='box',
        ),
        pytest.param(
            Prompt(mask=MASK, action=Prompt.REPLACE, object_id=7),
            'object 7 is prompted anew (a mask)',
            id='mask',
        ),
        pytest.param(
            Prompt(action=Prompt.REMOVE, object_id=7), 'object 7 is removed', id='removal'
        ),
    ],
)
def test_what_the_log_says(message, text):
    assert describe(read_prompt(message), 7) == text


def test_the_other_fields():
    header = Header()
    header.stamp.sec, header.stamp.nanosec = 3, 7
    message = Prompt(header=header, object_id=9, action=Prompt.REPLACE, name='mug', points=POINTS)
    request = read_prompt(message)
    assert (request.action, request.object_id) == (Action.REPLACE, 9)
    assert (request.stamp_ns, request.name) == (3_000_000_007, 'mug')
    assert request.prompt(9).replace
    assert (
        not read_prompt(Prompt(points=POINTS, action=Prompt.REFINE, object_id=9)).prompt(9).replace
    )


def test_a_name_alone_renames_a_tracked_object():
    request = read_prompt(Prompt(action=Prompt.REFINE, object_id=2, name='mug'))
    assert request.only_renames and (request.object_id, request.name) == (2, 'mug')
    assert describe(request, 2) == 'object 2 is now called mug'
    with pytest.raises(PromptError, match='empty'):
        read_prompt(Prompt(action=Prompt.REPLACE, object_id=2, name='mug'))


def test_removal_needs_only_the_id():
    assert read_prompt(Prompt(action=Prompt.REMOVE, object_id=2)).action is Action.REMOVE


# Each row: an invalid message, and words of the error.
@pytest.mark.parametrize(
    ('message', 'words'),
    [
        pytest.param(Prompt(), 'empty', id='empty'),
        pytest.param(Prompt(name='mug', object_id=3), 'empty', id='only a name'),
        pytest.param(Prompt(action=4, points=POINTS), 'unknown action 4', id='unknown action'),
        pytest.param(Prompt(action=1, points=POINTS), 'REFINE needs', id='refine without id'),
        pytest.param(Prompt(action=2, points=POINTS), 'REPLACE needs', id='replace without id'),
        pytest.param(Prompt(action=3), 'REMOVE needs', id='remove without id'),
        pytest.param(
            Prompt(points=POINTS, point_labels=[1]), '2 points, but 1', id='labels too few'
        ),
        pytest.param(Prompt(point_labels=[1]), '0 points, but 1', id='labels alone'),
        pytest.param(
            Prompt(points=POINTS, point_labels=[1, 2]), 'labels are 1', id='another label'
        ),
        pytest.param(Prompt(mask=MASK, points=POINTS), 'cannot be combined', id='mask and points'),
        pytest.param(
            Prompt(mask=MASK, box=[1.0, 1.0, 2.0, 2.0]), 'cannot be combined', id='and box'
        ),
        pytest.param(
            Prompt(mask=Image(width=4, height=4, encoding='rgb8')),
            "cannot have the encoding 'rgb8'",
            id='colour',
        ),
        pytest.param(
            Prompt(mask=Image(width=4, height=4, encoding='mono8', step=4)),
            'is inconsistent',
            id='mask without data',
        ),
    ],
)
def test_invalid_messages_are_refused(message, words):
    with pytest.raises(PromptError, match=words):
        read_prompt(message)


# Each row: a valid message whose prompt the tracker refuses.
@pytest.mark.parametrize(
    'message',
    [
        pytest.param(Prompt(points=[Point(x=NAN)]), id='point not a number'),
        pytest.param(Prompt(points=[Point(y=float('-inf'))]), id='point infinite'),
        pytest.param(Prompt(box=[NAN, 0.0, 0.0, 0.0]), id='box not a number'),
        pytest.param(Prompt(box=[5.0, 5.0, 1.0, 9.0]), id='box corners swapped'),
        pytest.param(Prompt(box=[5.0, 5.0, 5.0, 9.0]), id='box without width'),
        pytest.param(
            Prompt(mask=array_to_image(np.zeros((4, 4), np.uint8), 'mono8', Header())),
            id='mask without a pixel',
        ),
    ],
)
def test_invalid_prompts_are_refused(message):
    request = read_prompt(message)
    with pytest.raises(PromptError):
        request.prompt(1)
