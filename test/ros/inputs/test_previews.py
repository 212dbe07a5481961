# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""~/segment: the mask of a prompt on a recent image, on a session without DDS."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tracking.fake_runtime import FakeRuntime

from tam_ros.msg import Prompt
from tam_ros.prompting.published_images import PublishedImages
from tam_ros.prompting.session import TrackingSession
from tam_ros.ros.conversions import array_to_image
from tam_ros.ros.inputs.previews import PreviewService
from tam_ros.segmentation import Segmentation
from tam_ros.srv import Segment
from tam_ros.tracking import Tracker, TrackerOptions

START = 1_700_000_000_123_456_789  # in seconds, a float has not this many digits
STEP = 100_000_000
IMAGE = np.zeros((30, 40, 3), np.uint8)


class Port:
    """The port of the node, with a session that tracks two images."""

    def __init__(self, history=2.0, images=2):
        self.runtime = FakeRuntime()
        options = TrackerOptions(prompt_history_seconds=history)
        parameters = SimpleNamespace(
            max_objects=4, max_new_objects=0.0, prompt_history_seconds=history, time_jump=5.0
        )
        self.tracker = Tracker(self.runtime, options)
        self.session = TrackingSession(self.tracker, lambda: parameters, print)
        self.published = PublishedImages()
        for index in range(images):
            stamp = START + index * STEP
            self.published.add(self.session.step(IMAGE, stamp), stamp, f'camera_{index}', 5.0)

    def add_source(self, source):
        pass

    def serve(self, service_type, name, answer):
        assert (service_type, name) == (Segment, '~/segment')
        self.answer = answer

    def call_in_tracker(self, function):
        return function(self.session)

    def segment(self, stamp_ns=0, **fields):
        PreviewService(self)
        header = Header()
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        response = Segment.Response()
        self.answer(Segment.Request(prompt=Prompt(header=header, **fields)), response)
        return response


CLICK = {'points': [Point(x=20.0, y=15.0)]}


class OtherModel:
    """A second model, whose mask is one pixel of the older image."""

    segments = True

    def segment(self, prompt):
        assert prompt.stamp == pytest.approx(START / 1e9, abs=1e-3)
        mask = np.zeros((1, 30, 40), bool)
        mask[0, 3, 4] = True
        values = np.array([0.5], np.float32)
        return START, Segmentation(mask, values, values, values, np.zeros((1, 8, 8), np.float32))


def test_another_model_answers_if_there_is_one():
    port = Port()
    port.session.second = OtherModel()
    answer = port.segment(stamp_ns=START, **CLICK)
    assert answer.success and answer.header.frame_id == 'camera_0'
    box = answer.box
    assert (box.x_offset, box.y_offset, box.width, box.height) == (4, 3, 1, 1)
    OtherModel.segments = False  # it is there for the prompts of new objects only
    assert port.segment(stamp_ns=START, **CLICK).box.width > 1


def test_the_newest_image():
    port = Port()
    answer = port.segment(**CLICK)
    assert answer.success and answer.message == ''
    stamp = answer.header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == START + STEP
    assert answer.header.frame_id == answer.mask.header.frame_id == 'camera_1'
    mask = np.frombuffer(bytes(answer.mask.data), np.uint8).reshape(30, 40)
    assert answer.mask.encoding == 'mono8' and set(np.unique(mask)) == {0, 255}
    rows, columns = np.nonzero(mask)
    box = answer.box
    assert (box.x_offset, box.y_offset) == (columns.min(), rows.min())
    assert (box.width, box.height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert answer.predicted_iou == pytest.approx(0.3) and 0 < answer.stability < 1
    assert port.tracker.objects == ()


def test_an_earlier_image_by_its_stamp():
    answer = Port().segment(START, **CLICK)
    stamp = answer.header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == START
    assert answer.header.frame_id == 'camera_0'


def test_action_id_and_name_are_not_used():
    port = Port()
    for action in (Prompt.REFINE, Prompt.REMOVE, 99):
        assert port.segment(action=action, object_id=7, name='mug', **CLICK).success


def test_a_mask_is_refined():
    mask = array_to_image(np.ones((30, 40), np.uint8), 'mono8', Header())
    port = Port()
    assert port.segment(mask=mask).success
    assert port.runtime.prompts[-1].has_mask.tolist() == [1]


@pytest.mark.parametrize(
    ('port', 'fields', 'message'),
    [
        ({}, {}, 'the prompt is empty'),
        ({}, {'points': [Point(x=99.0)]}, 'lies outside the image 40x30'),
        ({}, {'points': [Point()], 'point_labels': [0]}, 'only clicks off the object'),
        ({}, {'box': [5.0, 5.0, 1.0, 1.0]}, 'corners'),
        ({}, {'mask': array_to_image(np.ones((5, 6), np.uint8), 'mono8', Header())}, '6x5'),
        ({}, {'mask': Image(width=5, height=5)}, 'encoding'),
        ({}, {'stamp_ns': START - 10**10, **CLICK}, 'the oldest that is kept'),
        ({}, {'stamp_ns': START + 10**9, **CLICK}, 'after the last one that was tracked'),
        ({'history': 0.0}, CLICK, 'set prompt_history_seconds to keep some'),
        ({'images': 0}, CLICK, 'no image has been tracked yet'),
    ],
)
def test_refusals_say_why(port, fields, message):
    answer = Port(**port).segment(**fields)
    assert not answer.success and message in answer.message
    assert answer.mask.width == 0 and answer.predicted_iou == 0
