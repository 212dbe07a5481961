# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Texts of messages that are too long, or that a terminal would obey."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import PointStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from tam_ros.msg import Prompt
from tam_ros.printable import MAX_NAME, MAX_TEXT
from tam_ros.prompting.detection_filter import Detection, FilterRules, Reason, explain
from tam_ros.prompting.session import Action, PromptRequest
from tam_ros.ros.conversions import array_to_image
from tam_ros.ros.diagnostics.statistics import Statistics
from tam_ros.ros.incoming_texts import cut_texts
from tam_ros.srv import AddPrompt, SetClickMode

ESCAPE = '\x1b[2J' + 'x' * 1000
SHOWN = (r'\x1b[2J' + 'x' * 1000)[: MAX_NAME - 3] + '...'


@pytest.mark.parametrize(
    ('message', 'paths'),
    [
        (Image(), ('header.frame_id', 'encoding')),
        (CompressedImage(), ('header.frame_id', 'format')),
        (CameraInfo(), ('header.frame_id', 'distortion_model')),
        (PointStamped(), ('header.frame_id',)),
        (
            Prompt(),
            ('header.frame_id', 'name', 'mask.header.frame_id', 'mask.encoding'),
        ),
        (AddPrompt.Request(), ('prompt.name', 'prompt.mask.encoding')),
        (SetClickMode.Request(), ('mode',)),
    ],
)
def test_every_text_is_cut(message, paths):
    def part(path):
        owner = message
        for name in path.split('.'):
            owner = getattr(owner, name)
        return owner

    for path in paths:
        owner, _, name = path.rpartition('.')
        setattr(part(owner) if owner else message, name, ESCAPE)
    cut_texts(message)
    for path in paths:
        assert part(path) == SHOWN


def test_usual_messages_stay_as_they_are():
    header = Header(frame_id='camera_optical')
    image = array_to_image(np.zeros((4, 4, 3), np.uint8), 'rgb8', header)
    data = image.data
    cut_texts(image)
    assert (image.header.frame_id, image.encoding) == ('camera_optical', 'rgb8')
    assert image.data is data
    cut_texts(Trigger.Request())


def test_names_of_objects_and_classes():
    request = PromptRequest(Action.ADD, name=ESCAPE)
    one = Detection((0.0, 0.0, 1.0, 1.0), ESCAPE)
    assert request.name == one.label == SHOWN, 'a lost object is found again by its name'
    text = explain(Reason.CLASS, [one], (10, 10), FilterRules(classes={'mug'})).text
    assert text.isprintable()


def test_diagnostics_keep_no_long_text():
    statistics = Statistics()
    statistics.count('refused_images', 'unknown encoding ' + ESCAPE)
    statistics.failed(ESCAPE)
    summary = statistics.summary()
    for text in (*summary.last.values(), summary.failure):
        assert text.isprintable()
        assert len(text) == MAX_TEXT
