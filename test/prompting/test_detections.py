# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which detections become objects."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prompting.made_frames import SECOND, result_of, tracked

from tam_ros.prompting.detection_filter import Detection, FilterRules, select
from tam_ros.prompting.detections import DetectionRules, Detections
from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.session import Action
from tam_ros.tracking import ObjectState

RULES = DetectionRules(box_iou=0.4, mask_iou=0.4, confirm=1, cooldown=1.0, reprompt=True)
MUG = (10.0, 10.0, 30.0, 30.0)
FAR = (50.0, 30.0, 70.0, 50.0)


class Detector:
    """A detector with five messages per second, and a tracker that accepts every request."""

    def __init__(self, **rules):
        self.rules = replace(RULES, **rules)
        self.detections = Detections()
        self.images = PublishedImages()
        self.tracked, self.names = set(), {}
        self.stamp = 100 * SECOND

    def show(self, *objects):
        """Publish an image of these objects."""
        self.stamp += SECOND // 5
        self.images.add(result_of(*objects), self.stamp, 'camera', keep_s=2.0)
        self.tracked |= {item.id for item in objects}

    def detect(self, *found, show=(), accept=True, stamp_ns=None):
        """Show objects, detect boxes on that image; return the requests."""
        self.show(*show)
        stamp_ns = self.stamp if stamp_ns is None else stamp_ns
        image = self.images.at(stamp_ns)
        used, _ = select(found, image.size, FilterRules())
        requests = self.detections.requests(
            used, stamp_ns, image, self.tracked, self.names, self.rules
        )
        for request in requests:
            number = request.object_id or max(self.tracked, default=0) + 1
            self.detections.prompted(request, number if accept else 0)
            if accept:
                self.tracked.add(number)
                self.names[number] = request.name
        return requests


def box_of(box):
    return tuple(int(edge) for edge in box)


def test_a_detection_becomes_an_object_once():
    """Ten messages of the same mug, which the tracker shows from the third on: one prompt."""
    detector = Detector()
    mug = Detection(MUG, 'mug', 0.9)
    (request,) = detector.detect(mug)
    assert (request.action, request.object_id, request.name) == (Action.ADD, 0, 'mug')
    assert (request.box, request.stamp_ns) == (MUG, detector.stamp)
    assert not detector.detect(mug)
    for _ in range(8):
        assert not detector.detect(mug, show=[tracked(1, box_of(MUG))])


def test_an_object_whose_prompt_waits_is_not_added_again():
    """It is not shown for two seconds, longer than the cooldown, and it moves."""
    detector = Detector()
    assert detector.detect(Detection(MUG))
    for step in range(1, 11):
        moved = (10.0 + 2 * step, 10.0, 30.0 + 2 * step, 30.0)
        assert not detector.detect(Detection(moved))


def test_a_refused_or_removed_object_is_prompted_again_after_the_cooldown():
    detector = Detector()
    assert detector.detect(Detection(MUG), accept=False)
    assert [len(detector.detect(Detection(MUG), accept=False)) for _ in range(5)] == [
        0,
        0,
        0,
        0,
        1,
    ]
    # The same if the operator removed it.
    detector = Detector()
    assert detector.detect(Detection(MUG))
    detector.tracked.clear()
    assert [len(detector.detect(Detection(MUG), accept=False)) for _ in range(5)] == [
        0,
        0,
        0,
        0,
        1,
    ]


def test_a_detection_is_confirmed_by_the_next_messages():
    detector = Detector(confirm=3)
    counts = [len(detector.detect(Detection(MUG))) for _ in range(3)]
    assert counts == [0, 0, 1]


def test_a_detection_that_flickers_is_never_confirmed():
    detector = Detector(confirm=2)
    for _ in range(5):
        assert not detector.detect(Detection(MUG))
        assert not detector.detect()


# Each row: a tracked object, a detection, whether they are the same object.
SAME = [
    pytest.param((10, 10, 30, 30), (10, 10, 30, 30), True, id='equal'),
    pytest.param((10, 10, 30, 30), (16, 10, 36, 30), True, id='overlap 0.54'),
    pytest.param((10, 10, 30, 30), (19, 10, 39, 30), False, id='overlap 0.38'),
    pytest.param((10, 10, 30, 30), (0, 0, 60, 50), False, id='a person holding the tracked mug'),
    pytest.param((0, 0, 60, 50), (10, 10, 30, 30), False, id='a mug held by the tracked person'),
    pytest.param((10, 10, 30, 30), (10, 10, 30, 45), True, id='half of it is hidden'),
    pytest.param((10, 10, 30, 30), (50, 30, 70, 50), False, id='elsewhere'),
]


@pytest.mark.parametrize(('existing', 'found', 'same'), SAME)
def test_matching_by_boxes(existing, found, same):
    detector = Detector(mask_iou=1.0)
    requests = detector.detect(Detection(found), show=[tracked(1, existing)])
    assert bool(requests) != same


def test_stray_pixels_do_not_hide_a_match():
    """They stretch the box of the mask over half of the image."""
    stray = tracked(1, (0, 0, 60, 55))
    stray.crop[:] = False
    stray.crop[10:30, 10:30] = True
    stray.crop[54, 59] = True
    assert not Detector().detect(Detection(MUG), show=[stray])
    assert Detector(mask_iou=1.0).detect(Detection(MUG), show=[stray])


def test_a_mask_in_the_corner_of_a_detection():
    """The part of the detection left of and above the mask is not covered."""
    detector = Detector(box_iou=1.0, mask_iou=0.25)
    mask = tracked(1, (20, 20, 40, 40))
    assert not detector.detect(Detection((10, 10, 40, 40)), show=[mask]), '400 of 900'
    assert detector.detect(Detection((10, 10, 30, 30)), show=[mask]), '100 of 700'


def test_matching_is_done_on_the_image_of_the_detection():
    """The detector takes 0.4 s; by then the object, tracked all the time, is elsewhere."""
    detector = Detector()
    detector.show(tracked(1, box_of(MUG)))
    then = detector.stamp
    detector.show(tracked(1, (30, 20, 50, 40)))
    assert not detector.detect(Detection(MUG), show=[tracked(1, box_of(FAR))], stamp_ns=then)
    assert detector.detect(Detection(FAR), show=[tracked(1, box_of(FAR))], stamp_ns=then)


def test_a_detection_may_belong_to_a_future_image():
    detector = Detector()
    ahead = detector.stamp + SECOND
    (request,) = detector.detect(Detection(MUG), stamp_ns=ahead)
    assert request.stamp_ns == ahead


def test_without_a_stamp_the_newest_image_is_used():
    detector = Detector()
    (request,) = detector.detect(Detection(MUG), stamp_ns=0)
    assert request.stamp_ns == detector.stamp


def test_two_boxes_of_one_object_are_one_request():
    """The one with the higher score is used, even if the classes differ."""
    found = [Detection(MUG, 'cup', 0.6), Detection((11, 10, 31, 30), 'mug', 0.8)]
    (request,) = Detector().detect(*found)
    assert request.name == 'mug'


def test_the_best_come_first():
    found = [Detection(MUG, 'a', 0.6), Detection(FAR, 'b', 0.9)]
    assert [request.name for request in Detector().detect(*found)] == ['b', 'a']


LOST = ObjectState.LOST
OCCLUDED = ObjectState.OCCLUDED
# Each row: state and name of a hidden object, rules, and the request that a mug detected at its
# last position makes.
HIDDEN = [
    pytest.param(OCCLUDED, 'mug', {}, None, id='occluded'),
    pytest.param(OCCLUDED, '', {}, None, id='occluded, without a name'),
    pytest.param(OCCLUDED, 'box', {}, (Action.ADD, 0), id='occluded by the mug'),
    pytest.param(LOST, 'mug', {}, (Action.REPLACE, 1), id='lost: restarted'),
    pytest.param(LOST, 'mug', {'reprompt': False}, (Action.ADD, 0), id='lost, a new object'),
    pytest.param(LOST, 'box', {}, (Action.ADD, 0), id='another object was lost here'),
    pytest.param(LOST, '', {}, (Action.ADD, 0), id='lost, without a name'),
]


@pytest.mark.parametrize(('state', 'name', 'rules', 'expected'), HIDDEN)
def test_objects_that_are_not_seen(state, name, rules, expected):
    detector = Detector(**rules)
    detector.show(tracked(1, box_of(MUG)))
    detector.names[1] = name
    requests = detector.detect(Detection(MUG, 'mug'), show=[tracked(1, state=state)])
    assert [(one.action, one.object_id) for one in requests] == ([expected] if expected else [])


def test_a_lost_object_without_a_name_is_not_restarted():
    detector = Detector()
    detector.show(tracked(1, box_of(MUG)))
    (request,) = detector.detect(Detection(MUG), show=[tracked(1, state=LOST)])
    assert request.action is Action.ADD


def test_a_lost_object_is_restarted_once_per_cooldown():
    detector = Detector()
    detector.show(tracked(1, box_of(MUG)))
    detector.names[1] = 'mug'
    lost = tracked(1, state=LOST)
    counts = [len(detector.detect(Detection(MUG, 'mug'), show=[lost])) for _ in range(7)]
    assert counts == [1, 0, 0, 0, 0, 1, 0]


def test_a_bag_that_loops_clears_the_candidates():
    detector = Detector(confirm=2)
    detector.detect(Detection(MUG))
    detector.stamp = SECOND
    assert not detector.detect(Detection(MUG)), 'the detection of the first loop does not count'
    assert detector.detect(Detection(MUG))
