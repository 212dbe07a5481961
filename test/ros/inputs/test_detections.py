# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""vision_msgs/Detection2DArray to detections, with objects that have its fields."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace as Fields

import pytest
from prompting.made_frames import SECOND, result_of

from tam_ros.prompting.published_images import PublishedImages
from tam_ros.ros.inputs import detections
from tam_ros.ros.inputs.detections import DetectionTopic, read_detections
from tam_ros.ros.parameters import Parameters


def entry(x, y, width, height, *classes, theta=0.0):
    """A Detection2D; classes are (class_id, score)."""
    centre = Fields(position=Fields(x=x, y=y), theta=theta)
    results = [Fields(hypothesis=Fields(class_id=name, score=score)) for name, score in classes]
    return Fields(bbox=Fields(center=centre, size_x=width, size_y=height), results=results)


def read(*entries):
    return read_detections(Fields(detections=entries))


def test_the_best_hypothesis_is_used():
    first, second = read(
        entry(20.0, 15.0, 10.0, 20.0, ('cup', 0.3), ('mug', 0.6)), entry(5.0, 5.0, 2.0, 2.0)
    )
    assert first.box == (15, 5, 25, 25)
    assert (first.label, first.score) == ('mug', 0.6)
    assert (second.label, second.score) == ('', 0.0)


def test_a_rotated_box_is_replaced_by_the_upright_box_around_it():
    (found,) = read(entry(20.0, 20.0, 10.0, 4.0, theta=-math.pi / 2))
    assert found.box == pytest.approx((18, 15, 22, 25))
    (found,) = read(entry(20.0, 20.0, 10.0, 10.0, theta=math.pi / 4))
    assert found.box[2] - found.box[0] == pytest.approx(math.sqrt(200))


# Each row: an invalid detection.
@pytest.mark.parametrize(
    'wrong',
    [
        pytest.param(entry(math.nan, 5.0, 2.0, 2.0), id='not a number'),
        pytest.param(entry(5.0, 5.0, math.inf, 2.0), id='infinite'),
        pytest.param(entry(5.0, 5.0, 0.0, 2.0), id='no width'),
        pytest.param(entry(5.0, 5.0, -2.0, 2.0), id='negative width'),
        pytest.param(entry(5.0, 5.0, 2.0, 2.0, theta=math.inf), id='infinite angle'),
    ],
)
def test_invalid_boxes_are_not_usable(wrong):
    (found,) = read(wrong)
    assert not found.usable


class Port:
    """A port on which the inference thread has not made the scheduled calls yet."""

    active = True

    def __init__(self):
        self.published = None  # the executor's thread must not use it
        self.scheduled = []
        self.reasons = []
        self.newest_received_ns = None

    def add_source(self, source):
        pass

    def subscribe(self, kind, topic, callback, qos):
        self.receive = callback

    def schedule_in_tracker(self, function):
        self.scheduled.append(function)

    def refused(self, reason, **_):
        self.reasons.append(reason)


def test_a_detector_that_runs_while_nothing_is_tracked_is_silent(monkeypatch):
    monkeypatch.setattr(detections, 'Detection2DArray', object)
    port = Port()
    DetectionTopic(port)
    message = Fields(
        detections=[entry(5.0, 5.0, 0.0, 2.0)],
        header=Fields(stamp=Fields(sec=1, nanosec=0)),
    )
    port.receive(message)
    port.published = PublishedImages()
    (call,) = port.scheduled
    call(None)
    assert port.reasons == []
    port.active = False
    port.receive(message)
    assert len(port.scheduled) == 1


def test_each_reason_is_said_once_and_counted(monkeypatch):
    """A detector without scores: one line, whatever it sends, until a parameter changes."""
    monkeypatch.setattr(detections, 'Detection2DArray', object)
    port = Port()
    said, counted = [], Counter()
    port.log = lambda text, warning=False: said.append((text, warning))
    port.count_dropped = lambda reason, count, explanation: counted.update({reason: count})
    port.parameters = Fields(current=Parameters())
    port.published = PublishedImages()
    port.published.add(result_of(), SECOND, 'camera', keep_s=2.0)
    DetectionTopic(port)
    session = Fields(tracked=set(), names={})

    def send(*entries):
        header = Fields(stamp=Fields(sec=1, nanosec=0))
        port.receive(Fields(detections=entries, header=header))
        port.scheduled.pop()(session)

    for _ in range(5):
        send(entry(20.0, 20.0, 10.0, 10.0), entry(40.0, 20.0, 10.0, 10.0, ('cup', 0.0)))
    ((text, warning),) = said
    assert text.startswith('~/detections: 2 of 2 are not used: they have no score')
    assert warning
    assert counted == {'score': 10}
    port.parameters.current = Parameters(detection_classes='mug')
    send(entry(20.0, 20.0, 10.0, 10.0, ('cup', 0.9)))
    assert said[1:] == [
        ('~/detections: 1 of 1 are not used: detection_classes (mug) does not have cup', False)
    ]


def test_the_messages_of_vision_msgs_have_these_fields():
    vision = pytest.importorskip('vision_msgs.msg', reason='vision_msgs is not installed here')
    best = vision.ObjectHypothesisWithPose()
    best.hypothesis.class_id, best.hypothesis.score = 'mug', 0.5
    found = vision.Detection2D(results=[best])
    found.bbox.center.position.x, found.bbox.center.position.y = 20.0, 15.0
    found.bbox.size_x, found.bbox.size_y = 10.0, 20.0
    (read,) = read_detections(vision.Detection2DArray(detections=[found]))
    assert (read.box, read.label, read.score) == ((15, 5, 25, 25), 'mug', 0.5)
