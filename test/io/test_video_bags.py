# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Bags whose images are video packets, as those of modern cameras."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from tam_ros.interfaces import COMPRESSED_IMAGE_TYPE, FFMPEG_TYPE, FOXGLOVE_TYPE
from tam_ros.io.bag_source import BagSource
from tam_ros.io.frames import SourceError

SIZE, COUNT, KEY_EVERY = (64, 96), 8, 4
BEGIN, PERIOD = 1_700_000_000 * 10**9, 33_000_000
PACKET = """std_msgs/Header header
int32 width
int32 height
string encoding
uint64 pts
uint8 flags
bool is_bigendian
uint8[] data"""
VIDEO = """builtin_interfaces/Time timestamp
string frame_id
uint8[] data
string format"""

store = get_typestore(Stores.ROS2_HUMBLE)
store.register(get_types_from_msg(PACKET, FFMPEG_TYPE))
store.register(get_types_from_msg(VIDEO, FOXGLOVE_TYPE))
types = store.types


@pytest.fixture(scope='module')
def packets():
    context = av.CodecContext.create('libx264', 'w')
    (context.height, context.width), context.pix_fmt = SIZE, 'yuv420p'
    context.time_base = Fraction(1, 30)
    context.options = {'tune': 'zerolatency', 'g': str(KEY_EVERY)}
    made = []
    for index in range(COUNT):
        frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), 20 * index, np.uint8), 'rgb24')
        frame.pts = index
        made += [bytes(packet) for packet in context.encode(frame)]
    return made


def message(message_type, index, data):
    stamp = types['builtin_interfaces/msg/Time'](*divmod(BEGIN + index * PERIOD, 10**9))
    header = types['std_msgs/msg/Header'](stamp, 'optical')
    pixels = np.frombuffer(data, np.uint8)
    if message_type == FFMPEG_TYPE:
        return types[FFMPEG_TYPE](header, SIZE[1], SIZE[0], 'libx264', index, 0, False, pixels)
    if message_type == FOXGLOVE_TYPE:
        return types[FOXGLOVE_TYPE](stamp, 'optical', pixels, 'h264')
    return types[COMPRESSED_IMAGE_TYPE](header, 'h264', pixels)


def write(path, message_type, packets, first=0):
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/camera/video', message_type, typestore=store)
        for index, data in enumerate(packets[first:], start=first):
            content = store.serialize_cdr(message(message_type, index, data), message_type)
            writer.write(connection, BEGIN + index * PERIOD + 5, content)
    return path


@pytest.mark.parametrize('message_type', [FFMPEG_TYPE, FOXGLOVE_TYPE, COMPRESSED_IMAGE_TYPE])
def test_every_packet_is_a_frame(tmp_path, message_type, packets):
    source = BagSource(write(tmp_path / 'bag', message_type, packets))
    assert (source.topic, source.count) == ('/camera/video', COUNT)
    for _ in range(2):  # a recording may be read several times
        frames = list(source)
        assert [frame.header.stamp_ns for frame in frames] == [
            BEGIN + index * PERIOD for index in range(COUNT)
        ]
        assert {frame.header.frame_id for frame in frames} == {'optical'}
        for index, frame in enumerate(frames):
            assert frame.rgb.shape == (*SIZE, 3)
            assert np.abs(frame.rgb.astype(int) - 20 * index).max() < 6


def test_a_recording_that_begins_between_key_frames(tmp_path, packets, caplog):
    source = BagSource(write(tmp_path / 'bag', FFMPEG_TYPE, packets, first=2))
    assert len(list(source)) == COUNT - KEY_EVERY
    assert '2 video packets without a picture, before a key frame, skipped' in caplog.text


def test_without_pyav_it_says_what_to_install(tmp_path, packets, monkeypatch):
    source = BagSource(write(tmp_path / 'bag', FFMPEG_TYPE, packets))
    monkeypatch.setattr('tam_ros.io.video_packets.is_installed', lambda: False)
    with pytest.raises(SourceError, match='/camera/video: video packets need PyAV'):
        list(source)
