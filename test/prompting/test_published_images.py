# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The published images that are kept, and the objects shown on them."""

from __future__ import annotations

import math

import pytest
from prompting.made_frames import SECOND, result_of, tracked

from tam_ros.prompting.published_images import PublishedImages
from tam_ros.tracking import ObjectState, PromptError


def test_no_image_has_been_published():
    images = PublishedImages()
    for query in (lambda: images.newest, lambda: images.at(5), lambda: images.at(0)):
        with pytest.raises(PromptError, match='no image has been tracked yet'):
            query()
    assert images.id_at(5, 5) == 0


def test_the_nearest_image_to_a_stamp():
    images = PublishedImages()
    for stamp in (1, 2, 3):
        images.add(result_of(), stamp * SECOND, 'camera', keep_s=5.0)
    assert images.at(0).stamp_ns == 3 * SECOND
    assert images.at(int(1.6 * SECOND)).stamp_ns == 2 * SECOND
    assert images.at(99 * SECOND).stamp_ns == 3 * SECOND
    assert images.newest.frame_id == 'camera'


def test_images_are_dropped_after_a_time():
    images = PublishedImages()
    for stamp in range(1, 10):
        images.add(result_of(), stamp * SECOND, '', keep_s=2.0)
    assert len(images) == 3
    assert images.at(1).stamp_ns == 7 * SECOND


def test_the_number_of_kept_images_is_limited():
    images = PublishedImages()
    for stamp in range(1, 1000):
        images.add(result_of(), stamp, '', keep_s=3600.0)
    assert len(images) == 60


def test_a_kept_mask_is_small():
    large = tracked(1, (0, 0, 640, 300), size=(480, 640))
    large.crop[:, 320:] = False
    images = PublishedImages()
    images.add(result_of(large), SECOND, '', keep_s=1.0)
    mask = images.newest.objects[1].mask
    assert max(mask.shape) <= 64
    assert mask.mean() == pytest.approx(0.5, abs=0.02)


def test_a_kept_mask_is_a_copy():
    """A view would keep the mask of the whole image in memory, and change with it."""
    item = tracked(1, (10, 10, 20, 20))
    images = PublishedImages()
    images.add(result_of(item), SECOND, '', keep_s=1.0)
    mask = images.newest.objects[1].mask
    assert mask.base is None
    item.crop[:] = False
    assert mask.all()


def test_earlier_images_are_dropped_when_the_clock_restarts():
    images = PublishedImages()
    images.add(result_of(tracked(1, (10, 10, 20, 20))), 9 * SECOND, '', keep_s=60.0)
    images.add(result_of(tracked(1)), SECOND, '', keep_s=60.0)
    assert len(images) == 1


def test_a_hidden_object_keeps_its_last_box():
    images = PublishedImages()
    images.add(result_of(tracked(1, (10, 10, 20, 20))), SECOND, '', keep_s=1.0)
    for stamp in (2, 3, 4, 5):
        images.add(result_of(tracked(1), tracked(2)), stamp * SECOND, '', keep_s=1.0)
    first, second = images.newest.objects[1], images.newest.objects[2]
    assert (first.state, first.box, first.mask) == (ObjectState.OCCLUDED, (10, 10, 20, 20), None)
    assert second.box is None, 'it was never visible'


def test_ids_by_pixel_are_those_on_top():
    images = PublishedImages()
    under, over = tracked(1, (10, 10, 30, 30)), tracked(2, (20, 20, 40, 40))
    images.add(result_of(under, over), SECOND, '', keep_s=1.0)
    assert [images.id_at(x, x) for x in (12, 22, 35, 45)] == [1, 2, 2, 0]
    assert images.id_at(9.6, 10) == 1, 'pixel 10 covers 9.5 to 10.5'
    for x, y in ((-5, 5), (5, 60), (80, 5), (math.nan, 5), (5, math.inf)):
        assert images.id_at(x, y) == 0
    assert images.shows(1, 22, 22), 'its mask is not cut by the other object'
    assert not images.shows(1, 35, 35)
    assert not images.shows(3, 22, 22)
    assert not images.shows(1, math.nan, 22)
