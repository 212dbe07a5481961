# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Tracked objects as messages, and their masks."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.colour_tracker import SIZE, ColourTracker, picture
from std_msgs.msg import Header

from tam_ros.interfaces import OBJECT_TYPE, OBJECTS_TYPE, STATE_NUMBERS
from tam_ros.msg import TrackedObject, TrackedObjectArray
from tam_ros.ros.conversions import decode_mask
from tam_ros.ros.outputs.objects import objects_message
from tam_ros.spatial import Location
from tam_ros.tracking import ObjectState, Prompt


def test_the_names_of_types_and_states():
    for name, message_type in ((OBJECT_TYPE, TrackedObject), (OBJECTS_TYPE, TrackedObjectArray)):
        assert name == f'tam_ros/msg/{message_type.__name__}'
    assert {str(state) for state in ObjectState} == set(STATE_NUMBERS)
    for state, number in STATE_NUMBERS.items():
        assert getattr(TrackedObject, state.upper()) == number


def tracked(*places):
    """Return the result of a tracker with an object for each square at these pixels."""
    image = picture(red=(10, 10), blue=(45, 33))
    prompts = [Prompt.points(number, [place], [1]) for number, place in places]
    return ColourTracker().step(image, 1.0, prompts)


def test_objects_are_in_the_order_of_their_ids():
    message = objects_message(tracked((9, (12, 12)), (2, (50, 40))), Header(), {9: 'mug'}, False)
    assert [(item.id, item.name) for item in message.objects] == [(2, ''), (9, 'mug')]
    assert (message.height, message.width) == SIZE


def test_positions_of_objects():
    covariance = np.arange(9.0).reshape(3, 3)
    location = Location(np.array([1, 2, 3]), np.zeros(3), np.array([4, 5, 6]), covariance, 70_000)
    frame = tracked((1, (12, 12)), (2, (50, 40)))
    there, nowhere = objects_message(frame, Header(), {}, False, {1: location}).objects
    assert (there.position.x, there.position.y, there.position.z) == (1, 2, 3)
    assert (there.extent.x, there.extent.y, there.extent.z) == (4, 5, 6)
    assert list(there.position_covariance) == list(range(9))
    assert there.position_points == 70_000
    assert nowhere.position_points == 0
    unknown = nowhere.position, nowhere.extent
    assert np.isnan([[item.x, item.y, item.z] for item in unknown]).all()
    assert np.isnan(nowhere.position_covariance).all()


def test_a_mask_at_the_edge_of_the_image():
    frame = tracked((1, (12, 12)))
    image_edge = np.zeros(SIZE, bool)
    image_edge[-3:, -5:] = True
    image_edge[-2, -4] = False
    item = frame.objects[0]
    object.__setattr__(item, 'crop', image_edge[-3:, -5:])
    object.__setattr__(item, 'box', (SIZE[1] - 5, SIZE[0] - 3, SIZE[1], SIZE[0]))
    entry = objects_message(frame, Header(), {}, True).objects[0]
    assert (decode_mask(entry, *SIZE) == image_edge).all()


def test_a_message_without_masks():
    entry = objects_message(tracked((1, (12, 12))), Header(), {}, False).objects[0]
    with pytest.raises(ValueError, match='publish_masks'):
        decode_mask(entry, *SIZE)
    assert not decode_mask(TrackedObject(), *SIZE).any(), 'no visible pixel'
