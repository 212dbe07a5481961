# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pictures of video packets; the stream is encoded here."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from tam_ros.io.image_data import ImageFormatError
from tam_ros.io.video_packets import VideoDecoder

SIZE = (96, 128)
KEY_EVERY = 10


def picture(index):
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[20:60, 10 + 2 * index : 50 + 2 * index] = (200, 60, 60)
    return image


def packets(encoder='libx264', count=25, height=SIZE[0]):
    context = av.CodecContext.create(encoder, 'w')
    context.height, context.width = height, SIZE[1]
    context.pix_fmt, context.time_base = 'yuv420p', Fraction(1, 30)
    context.options = {'tune': 'zerolatency', 'preset': 'ultrafast', 'g': str(KEY_EVERY)}
    made = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(picture(index)[:height], 'rgb24')
        frame.pts = index
        made += [bytes(packet) for packet in context.encode(frame)]
    assert len(made) == count
    return made


@pytest.mark.parametrize(
    ('encoder', 'encoding'),
    [
        ('libx264', 'libx264'),
        ('libx264', 'h264'),
        ('libx264', 'h264;yuv420p;bgr8;bgr8'),
        ('libx265', 'hevc_nvenc'),
        ('libx265', 'h265'),
    ],
)
def test_each_packet_is_a_picture_at_once(encoder, encoding):
    decoder = VideoDecoder()
    for index, data in enumerate(packets(encoder)):
        ((tag, decoded),) = decoder.decode(encoding, data, index)
        assert tag == index
        assert (decoded.height, decoded.width) == SIZE
        rgb = decoded.rgb()
        assert (rgb.dtype, rgb.shape) == (np.uint8, (*SIZE, 3))
        assert np.abs(rgb.astype(int) - picture(index)).mean() < 4


def test_a_stream_may_begin_between_key_frames():
    decoder = VideoDecoder()
    stream = packets()
    shown = [
        tag for index in range(3, 25) for tag, _ in decoder.decode('h264', stream[index], index)
    ]
    assert shown == list(range(KEY_EVERY, 25))
    assert not decoder.waiting


def test_a_damaged_packet_is_refused_and_the_next_key_frame_is_shown():
    decoder = VideoDecoder()
    stream = packets()
    for index in range(5):
        decoder.decode('h264', stream[index], index)
    with pytest.raises(ImageFormatError, match="'h264'.*damaged"):
        decoder.decode('h264', b'nothing of a video', 5)
    assert decoder.waiting
    shown = [
        tag for index in range(10, 25) for tag, _ in decoder.decode('h264', stream[index], index)
    ]
    assert shown == list(range(10, 25))


def test_the_size_may_change_within_a_stream():
    decoder = VideoDecoder()
    for height in (96, 64):
        ((_, decoded),) = decoder.decode('h264', packets(count=1, height=height)[0], None)
        assert decoded.rgb().shape == (height, 128, 3)


def test_unknown_codecs_are_named():
    with pytest.raises(ImageFormatError, match="'theora'.*H.264, H.265"):
        VideoDecoder().decode('theora', b'x', None)


def test_without_pyav_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ImageFormatError, match='pip install av'):
        VideoDecoder().decode('h264', b'x', None)


@pytest.mark.parametrize(
    ('encoder', 'encoding', 'options'),
    [
        ('libx264', 'h264', {'preset': 'ultrafast', 'tune': 'zerolatency'}),
        ('libx265', 'h265', {'preset': 'ultrafast', 'tune': 'zerolatency'}),
        ('libvpx', 'vp8', {'deadline': 'realtime'}),
        ('libvpx-vp9', 'vp9', {'deadline': 'realtime'}),
        ('libsvtav1', 'av1', {}),
    ],
)
def test_large_pictures_are_refused_before_they_are_decoded(encoder, encoding, options):
    if encoder not in av.codecs_available:
        pytest.skip(f'PyAV has no {encoder}')
    context = av.CodecContext.create(encoder, 'w')
    context.height, context.width = 400, 500
    context.pix_fmt, context.time_base = 'yuv420p', Fraction(1, 30)
    context.options, context.thread_count = options, 1
    frame = av.VideoFrame.from_ndarray(np.zeros((600, 500), np.uint8), 'yuv420p')
    frame.pts = 0
    made = [bytes(one) for part in (frame, None) for one in context.encode(part)]
    ((_, decoded),) = VideoDecoder(max_pixels=200_000).decode(encoding, made[0], 0)
    assert (decoded.height, decoded.width) == (400, 500)
    for limit in (199_999, 100_000):
        decoder = VideoDecoder(max_pixels=limit)
        for index in range(2):
            with pytest.raises(ImageFormatError, match=f'too large: the limit is {limit} pixels'):
                decoder.decode(encoding, made[0], index)
        assert decoder.waiting


def test_the_log_of_ffmpeg_is_as_before():
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    with pytest.raises(ImageFormatError):
        VideoDecoder(max_pixels=100).decode('h264', packets(count=1)[0], 0)
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before
