# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node's own detector, and ~/detect_once, on a session without DDS."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tracking.fake_runtime import FakeRuntime

from tam_ros.detection import Detections, Detector
from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.session import TrackingSession
from tam_ros.ros.inputs import detector as module
from tam_ros.ros.inputs.detector import DetectorSource, class_list, open_detector
from tam_ros.ros.parameters import Parameters
from tam_ros.srv import DetectOnce
from tam_ros.tracking import Tracker, TrackerOptions

START, STEP = 1_700_000_000_000_000_000, 100_000_000
IMAGE = np.zeros((30, 40, 3), np.uint8)


class Pair(Detector):
    """Finds a cup and a dog, whatever the image is."""

    name, class_names, info = 'pair', ('cup', 'dog'), {'device': 'cpu'}
    closed = False

    def detect(self, image, tracked=None):
        return Detections([[2, 2, 12, 12], [20, 10, 36, 26]], [0.9, 0.6], [0, 1], ('cup', 'dog'))

    def close(self):
        self.closed = True


class Port:
    """The port of the node with a tracker, whose calls are made at once."""

    active = True
    reason_not_tracking = ''

    def __init__(self, **parameters):
        self.parameters = SimpleNamespace(current=Parameters(**parameters))
        self.published = PublishedImages()
        self.newest_received_ns = START
        self.refusals, self.lines = [], []
        tracker = Tracker(FakeRuntime(), TrackerOptions(prompt_history_seconds=2.0))
        self.session = TrackingSession(tracker, lambda: self.parameters.current, print)

    def add_source(self, source):
        self.source = source

    def serve(self, service_type, name, answer):
        assert (service_type, name) == (DetectOnce, '~/detect_once')
        self.answer = answer

    def call_in_tracker(self, function):
        return function(self.session)

    def schedule_in_tracker(self, function):
        function(self.session)

    def refused(self, reason, **_):
        self.refusals.append(reason)

    def log(self, text, **_):
        self.lines.append(text)

    def track(self, index=0):
        """Track an image, and let the sources see it, as the node does."""
        stamp = START + index * STEP
        self.newest_received_ns = stamp
        result = self.session.step(IMAGE, stamp)
        self.published.add(result, stamp, 'camera', 5.0)
        self.source.tracked(IMAGE, stamp, result)
        return [item.id for item in result.objects]

    def detect_once(self, **fields):
        response = DetectOnce.Response()
        self.answer(DetectOnce.Request(**fields), response)
        return response


@pytest.fixture
def made(monkeypatch):
    pairs, ports = [], []

    def open_pair(parameters):
        pairs.append(Pair())
        return pairs[-1]

    monkeypatch.setattr(module, 'open_detector', open_pair)

    def make(**parameters):
        port = Port(**{'detector': 'everything', 'detector_rate': 0.0, **parameters})
        DetectorSource(port)
        port.source.opened()
        ports.append(port)
        return port

    yield make
    for port in ports:
        port.source.closed()
    assert all(pair.closed for pair in pairs)


def test_one_look_adds_what_it_finds(made):
    port = made()
    port.track()
    answer = port.detect_once()
    assert answer.success and answer.detections == 2 and list(answer.object_ids) == [1, 2]
    assert port.session.names == {1: 'cup', 2: 'dog'}
    assert port.lines == [
        'detector: object 1 (cup) is added',
        'detector: object 2 (dog) is added',
    ]
    assert port.track(1) == [1, 2]
    report = port.source.report()
    assert report['detector'] == 'everything' and report['looks'] == 1
    assert report['detections'] == 2 and report['problem'] == ''


@pytest.mark.parametrize(
    ('fields', 'parameters', 'ids', 'used'),
    [
        ({'classes': 'dog, cat'}, {}, [1], 1),
        ({'min_score': 0.8}, {}, [1], 1),
        ({}, {'detector_classes': 'cat'}, [], 0),
        ({}, {'detector_min_score': 0.95}, [], 0),
        ({}, {'max_objects': 1}, [1], 2),
    ],
)
def test_what_is_used(made, fields, parameters, ids, used):
    port = made(**parameters)
    port.track()
    answer = port.detect_once(**fields)
    assert answer.success and answer.detections == used and list(answer.object_ids) == ids


def test_the_same_objects_are_not_added_twice(made):
    port = made()
    port.track()
    assert len(port.detect_once().object_ids) == 2
    port.track(1)
    assert list(port.detect_once().object_ids) == []


def test_requests_that_cannot_be_answered(made, monkeypatch):
    port = made(detector='')
    port.track()
    answer = port.detect_once()
    assert not answer.success and 'the node has no detector: set the parameter' in answer.message
    assert port.source.report() == {}
    port = made()
    monkeypatch.setattr(module, 'ANSWER_S', 0.01)
    answer = port.detect_once()
    assert not answer.success and 'no image arrives' in answer.message
    port.reason_not_tracking = 'the node is not active'
    assert port.detect_once().message == 'the node is not active'


def test_the_detector_of_the_parameters(monkeypatch):
    asked = []
    monkeypatch.setattr(Detector, 'open', staticmethod(lambda *a, **k: asked.append((a, k))))
    open_detector(Parameters(detector='everything', model='efficienttam_ti', weights='a.pt'))
    open_detector(Parameters(detector='yolact_resnet50', weights='a.pt', detector_weights='b.pth'))
    (first, settings), (second, others) = asked
    assert first == ('everything', 'a.pt', 'onnxruntime') and second[1] == 'b.pth'
    assert settings['model'] == 'efficienttam_ti' and settings['points_per_side'] == 8
    assert 'model' not in others and others['threads'] == 1
    assert others['options'].min_score == 0.05  # not a hundred masks of unlikely objects


def test_names_divided_by_commas():
    assert class_list(' cup, , dog ') == ['cup', 'dog'] and class_list('') == []
