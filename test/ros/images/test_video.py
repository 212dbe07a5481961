# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Video packets of a topic as images of the node; the message packages are not needed."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.ros.images.transports import FFMPEG, RAW, what_is_missing
from tam_ros.ros.images.video import VideoPackets

SIZE = (64, 96)


def ffmpeg(data, second):
    header = Header(stamp=Time(sec=second), frame_id='optical')
    return SimpleNamespace(header=header, encoding='libx264', data=data, pts=7, flags=0)


def foxglove(data, second):
    return SimpleNamespace(
        timestamp=Time(sec=second), frame_id='optical', format='h264', data=data
    )


@pytest.fixture(scope='module')
def packets():
    context = av.CodecContext.create('libx264', 'w')
    (context.height, context.width), context.pix_fmt = SIZE, 'yuv420p'
    context.time_base, context.options = Fraction(1, 30), {'tune': 'zerolatency', 'g': '4'}
    made = []
    for index in range(8):
        frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), 20 * index, np.uint8), 'rgb24')
        frame.pts = index
        made += [bytes(packet) for packet in context.encode(frame)]
    return made


@pytest.mark.parametrize('message', [ffmpeg, foxglove])
def test_packets_are_images_with_their_headers(message, packets):
    images = []
    video = VideoPackets(images.append)
    for second, data in enumerate(packets[2:], start=2):
        video.receive(message(data, second))
        assert video.problem == ('' if second >= 4 else 'the video has had no key frame yet')
    assert [image.header.stamp.sec for image in images] == [4, 5, 6, 7]
    assert {image.header.frame_id for image in images} == {'optical'}
    rgb = ImageDecoder().message(images[-1])
    assert (rgb.shape, rgb.dtype) == ((*SIZE, 3), np.uint8)
    assert np.abs(rgb.astype(int) - 140).max() < 6


def test_what_cannot_be_decoded_is_the_problem(packets):
    video = VideoPackets(lambda image: None)
    message = ffmpeg(packets[0], 0)
    message.encoding = 'cinepak'
    video.receive(message)
    assert "'cinepak', for which there is no decoder" in video.problem


def test_what_is_missing_is_named(monkeypatch):
    installed = set()
    monkeypatch.setattr('importlib.util.find_spec', lambda name: name in installed or None)
    assert what_is_missing(RAW) is None
    assert what_is_missing(FFMPEG) == (
        'ffmpeg needs ffmpeg_image_transport_msgs, which is not installed here '
        '(ros-$ROS_DISTRO-ffmpeg-image-transport-msgs)'
    )
    installed.add('ffmpeg_image_transport_msgs')
    assert what_is_missing(FFMPEG) == 'ffmpeg needs PyAV: python3 -m pip install av'
    installed.add('av')
    assert what_is_missing(FFMPEG) is None
