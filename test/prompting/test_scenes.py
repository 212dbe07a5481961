# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is remembered of the images that were shown."""

from __future__ import annotations

import math

import pytest
from prompting.scenery import SECOND, shown, tracked

from tam_ros.prompting.scenes import Scenes
from tam_ros.tracking import ObjectState, PromptError


def test_without_an_image_there_is_nothing_to_prompt_on():
    scenes = Scenes()
    for ask in (lambda: scenes.newest, lambda: scenes.at(5), lambda: scenes.at(0)):
        with pytest.raises(PromptError, match='no image has been tracked yet'):
            ask()
    assert scenes.id_at(5, 5) == 0


def test_the_nearest_image_to_a_stamp():
    scenes = Scenes()
    for stamp in (1, 2, 3):
        scenes.add(shown(), stamp * SECOND, 'camera', keep_s=5.0)
    assert scenes.at(0).stamp_ns == 3 * SECOND
    assert scenes.at(int(1.6 * SECOND)).stamp_ns == 2 * SECOND
    assert scenes.at(99 * SECOND).stamp_ns == 3 * SECOND
    assert scenes.newest.frame_id == 'camera'


def test_images_are_kept_for_a_time():
    scenes = Scenes()
    for stamp in range(1, 10):
        scenes.add(shown(), stamp * SECOND, '', keep_s=2.0)
    assert len(scenes) == 3
    assert scenes.at(1).stamp_ns == 7 * SECOND


def test_a_stream_without_end_keeps_no_more():
    scenes = Scenes()
    for stamp in range(1, 1000):
        scenes.add(shown(), stamp, '', keep_s=3600.0)
    assert len(scenes) == 60


def test_what_is_remembered_of_a_mask_is_small():
    large = tracked(1, (0, 0, 640, 300), size=(480, 640))
    large.mask[:, 320:] = False
    scenes = Scenes()
    scenes.add(shown(large), SECOND, '', keep_s=1.0)
    mask = scenes.newest.sights[1].mask
    assert max(mask.shape) <= 64
    assert mask.mean() == pytest.approx(0.5, abs=0.02)


def test_time_that_starts_again_forgets_what_was():
    scenes = Scenes()
    scenes.add(shown(tracked(1, (10, 10, 20, 20))), 9 * SECOND, '', keep_s=60.0)
    scenes.add(shown(tracked(1)), SECOND, '', keep_s=60.0)
    assert len(scenes) == 1


def test_an_object_out_of_sight_keeps_the_box_it_had():
    scenes = Scenes()
    scenes.add(shown(tracked(1, (10, 10, 20, 20))), SECOND, '', keep_s=1.0)
    for stamp in (2, 3, 4, 5):
        scenes.add(shown(tracked(1), tracked(2)), stamp * SECOND, '', keep_s=1.0)
    first, second = scenes.newest.sights[1], scenes.newest.sights[2]
    assert (first.state, first.box, first.mask) == (ObjectState.OCCLUDED, (10, 10, 20, 20), None)
    assert second.box is None, 'it was never seen'


def test_ids_by_pixel_are_those_on_top():
    scenes = Scenes()
    under, over = tracked(1, (10, 10, 30, 30)), tracked(2, (20, 20, 40, 40))
    scenes.add(shown(under, over), SECOND, '', keep_s=1.0)
    assert [scenes.id_at(x, x) for x in (12, 22, 35, 45)] == [1, 2, 2, 0]
    assert scenes.id_at(9.6, 10) == 1, 'pixel 10 begins at 9.5'
    for x, y in ((-5, 5), (5, 60), (80, 5), (math.nan, 5), (5, math.inf)):
        assert scenes.id_at(x, y) == 0
    assert scenes.shows(1, 22, 22), 'its own mask is whole'
    assert not scenes.shows(1, 35, 35)
    assert not scenes.shows(3, 22, 22)
    assert not scenes.shows(1, math.nan, 22)
