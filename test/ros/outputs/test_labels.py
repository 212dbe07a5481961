# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Label images as messages."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fake_node import make_output
from std_msgs.msg import Header

from tam_ros.ros.outputs.labels import CompressedLabels, Labels
from tam_ros.ros.outputs.output import TrackedImage
from tam_ros.tracking import FrameResult


# Each row: the highest id, and the encoding and type of the label image.
@pytest.mark.parametrize(
    ('highest', 'encoding', 'dtype'),
    [
        pytest.param(0, 'mono8', np.uint8, id='background only'),
        pytest.param(255, 'mono8', np.uint8, id='highest id of 8 bits'),
        pytest.param(256, '16UC1', np.uint16, id='lowest id of 16 bits'),
        pytest.param(65535, '16UC1', np.uint16, id='highest id'),
    ],
)
def test_label_images(highest, encoding, dtype):
    labels = np.zeros((3, 5), np.uint16)
    labels[1, 2] = highest
    header = Header(frame_id='camera')
    result = TrackedImage(FrameResult(0.0, 0, labels, [], {}), {}, header, None)
    message = make_output(Labels).message(result)
    assert (message.encoding, message.header.frame_id) == (encoding, 'camera')
    assert message.step == 5 * np.dtype(dtype).itemsize
    assert (np.frombuffer(message.data, dtype).reshape(3, 5) == labels).all()

    packed = make_output(CompressedLabels).message(result)
    assert (packed.format, packed.header.frame_id) == (f'{encoding}; png compressed ', 'camera')
    data = np.frombuffer(packed.data, np.uint8)
    assert (cv2.imdecode(data, cv2.IMREAD_UNCHANGED) == labels).all()
    assert data.size and cv2.imdecode(data, cv2.IMREAD_UNCHANGED).dtype == dtype
