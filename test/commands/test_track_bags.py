# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track` on bags: headers, copied topics, independent readers."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from bagdata import IMAGE, read_bag, serialized_image, stamps
from rosbags.rosbag2 import StoragePlugin, Writer

from tam_ros.interfaces import OBJECTS_TYPE
from tam_ros.io.bag_writer import BagWriter, message_types
from tam_ros.io.frames import Header
from tam_ros.io.open_source import open_source

FRAMES = 8
BOX = ('--prompt', '1:box:28,38,72,82')
STAMPS_NS = [10**18 + 123 + index * 10**8 for index in range(FRAMES)]
LATE_NS = 5_000_000  # from the stamp to the time of recording


@pytest.fixture
def bag(tmp_path, pictures) -> Path:
    """A bag of two cameras and a string per frame, recorded 5 ms after the stamps."""
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as writer:
        for stamp, rgb in zip(STAMPS_NS, pictures, strict=True):
            header = Header(stamp, 'optical')
            writer.write_image('/left/image', header, rgb, stamp + LATE_NS)
            writer.write_labels('/right/image', header, rgb[..., 0], stamp + LATE_NS + 1)
            word = np.array([0, 1, 0, 0, 3, 0, 0, 0, 104, 105, 0], np.uint8)  # CDR of 'hi'
            writer.write_serialized('/word', 'std_msgs/msg/String', stamp, word.tobytes())
    return path


def test_a_bag_keeps_its_headers(bag, tam, tmp_path):
    overlay = tmp_path / 'o.mp4'
    topic = ('--topic', '/left/image')
    assert tam(bag, *topic, *BOX, '--out', tmp_path / 'o.mcap', '--overlay', overlay) == 0
    messages = read_bag(tmp_path / 'o.mcap')
    assert set(messages) == {'/track_node/labels', '/track_node/objects'}
    assert stamps(messages['/track_node/objects']) == STAMPS_NS
    assert messages['/track_node/labels'][0].header.frame_id == 'optical'
    assert open_source(overlay).rate_hz == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize('copy', [['all'], ['/left/image', 'word'], ['/right/image']])
def test_topics_are_copied_unchanged(bag, tam, tmp_path, copy):
    from rosbags.highlevel import AnyReader

    options = [part for topic in copy for part in ('--copy', topic)]
    out = tmp_path / 'out.mcap'
    assert tam(bag, '--topic', '/left/image', *BOX, '--out', out, *options) == 0
    wanted = {'/left/image', '/right/image', '/word'}
    if copy != ['all']:
        wanted = {'/' + topic.strip('/') for topic in copy}
    with AnyReader([bag]) as reader:
        source = [(c.topic, t, bytes(d)) for c, t, d in reader.messages() if c.topic in wanted]
    with AnyReader([out]) as reader:
        written = [(c.topic, t, bytes(d)) for c, t, d in reader.messages()]
        assert {c.topic: c.msgtype for c in reader.connections}['/track_node/labels'] == IMAGE
    own = {'/track_node/labels', '/track_node/objects'}
    assert [item for item in written if item[0] not in own] == source
    # Results have the time of their image.
    times = {time for topic, time, _ in written if topic in own}
    assert times == {stamp + LATE_NS for stamp in STAMPS_NS}


def test_topics_whose_definition_is_missing(tam, tmp_path, pictures, capsys):
    """Early SQLite bags have no definitions; only the types of ROS itself are known."""
    types = message_types()
    time = types.types['builtin_interfaces/msg/Time'](0, 8)
    header = types.types['std_msgs/msg/Header'](time, '')
    writer = Writer(tmp_path / 'old', version=9, storage_plugin=StoragePlugin.SQLITE3)
    array = types.types[OBJECTS_TYPE](header, 1, 1, [])
    with writer:
        images = writer.add_connection('/image', IMAGE, typestore=types)
        writer.write(images, 7, serialized_image(Header(7, ''), pictures[0]))
        own = writer.add_connection('/own', OBJECTS_TYPE, typestore=types)
        writer.write(own, 8, types.serialize_cdr(array, OBJECTS_TYPE))
    with sqlite3.connect(tmp_path / 'old' / 'old.db3') as database:
        database.execute('DELETE FROM message_definitions')
    out = tmp_path / 'o.mcap'
    assert tam(tmp_path / 'old', *BOX, '--out', out, '--copy', 'all') == 0
    error = capsys.readouterr().err
    assert f'/own is not copied: the bag lacks the definition of {OBJECTS_TYPE}' in error
    assert set(read_bag(out)) == {'/image', '/track_node/labels', '/track_node/objects'}
    assert tam(tmp_path / 'old', *BOX, '--out', tmp_path / 'p.mcap', '--copy', '/own') == 2
    assert '/own cannot be copied' in capsys.readouterr().err


def test_results_of_an_earlier_run_are_not_copied(bag, tam, tmp_path, capsys):
    first, again = tmp_path / 'first.mcap', tmp_path / 'again.mcap'
    topic = ('--topic', '/left/image')
    assert tam(bag, *topic, *BOX, '--out', first, '--copy', 'all') == 0
    assert tam(first, *topic, *BOX, '--out', again, '--copy', 'all') == 0
    assert '/track_node/labels is not copied' in capsys.readouterr().err
    assert {topic: len(given) for topic, given in read_bag(again).items()} == dict.fromkeys(
        ('/left/image', '/right/image', '/word', '/track_node/labels', '/track_node/objects'),
        FRAMES,
    )


def test_frames_that_go_back_in_time_are_skipped(tam, tmp_path, pictures, capsys):
    stamps_ns = [1000, 2000, 2000, 1500, 3000]  # written twice; out of order
    with BagWriter(tmp_path / 'in.mcap') as writer:
        for place, (stamp, rgb) in enumerate(zip(stamps_ns, pictures, strict=False)):
            message = serialized_image(Header(stamp * 10**6, ''), rgb)
            writer.write_serialized('/image', IMAGE, place, message)
    assert tam(tmp_path / 'in.mcap', *BOX, '--out', tmp_path / 'out.mcap') == 0
    kept = stamps(read_bag(tmp_path / 'out.mcap')['/track_node/objects'])
    assert kept == [1000 * 10**6, 2000 * 10**6, 3000 * 10**6]
    error = capsys.readouterr().err
    assert error.count('skipped') == 1 and '2 frames skipped, the first was frame 2: ' in error


def test_the_topic_is_asked_for_in_a_terminal(bag, tam, tmp_path, monkeypatch, capsys):
    answers = iter(['x', '3', ' 2 '])
    monkeypatch.setattr(sys.stdin, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr('builtins.input', lambda _: next(answers))
    assert tam(bag, *BOX, '--out', tmp_path / 'o.mcap', '--copy', '/right/image') == 0
    listing = capsys.readouterr().out
    assert '1  /left/image' in listing and '2  /right/image' in listing
    labels = read_bag(tmp_path / 'o.mcap')
    tracked_right = open_source(bag, '/right/image')
    assert stamps(labels['/track_node/labels']) == [f.header.stamp_ns for f in tracked_right]


def test_the_bag_is_read_by_the_mcap_packages(bag, tam, tmp_path):
    """Independent readers find the same messages with the definitions of the bag alone."""
    reader = pytest.importorskip('mcap.reader', reason='the package mcap is not installed')
    ros2 = pytest.importorskip(
        'mcap_ros2.decoder', reason='the package mcap-ros2-support is not installed'
    )
    out = tmp_path / 'out.mcap'
    assert tam(bag, '--topic', '/left/image', *BOX, '--out', out, '--copy', 'all') == 0
    ours = read_bag(out)
    theirs: dict[str, list] = {}
    with out.open('rb') as stream:
        opened = reader.make_reader(stream, decoder_factories=[ros2.DecoderFactory()])
        for _, channel, _, message in opened.iter_decoded_messages():
            theirs.setdefault(channel.topic, []).append(message)
    assert {topic: len(given) for topic, given in theirs.items()} == dict.fromkeys(ours, FRAMES)
    for topic in ('/track_node/labels', '/left/image', '/right/image'):
        assert stamps(theirs[topic]) == stamps(ours[topic]) == STAMPS_NS
        for their, own in zip(theirs[topic], ours[topic], strict=True):
            assert bytes(their.data) == bytes(own.data)
    assert theirs['/word'][0].data == 'hi'
    for their, own in zip(theirs['/track_node/objects'], ours['/track_node/objects'], strict=True):
        assert [(item.id, item.area, item.score) for item in their.objects] == [
            (item.id, item.area, item.score) for item in own.objects
        ]


# --- real recordings ---


def test_real_bag(tam, tmp_path, shared_data):
    source = shared_data / 'bags' / 'apc_scene0000_mcap'
    out = tmp_path / 'out.mcap'
    point = ('--prompt', '1:point:320,240')
    assert tam(source, *point, '--out', out, '--copy', 'all') == 0
    messages, original = read_bag(out), read_bag(source)
    assert {topic: len(given) for topic, given in messages.items()} == {
        **{topic: len(given) for topic, given in original.items()},
        '/track_node/labels': 8,
        '/track_node/objects': 8,
    }
    assert len(list(open_source(out, '/camera/color/image_raw'))) == 8


def test_real_ros1_bag(tam, tmp_path, shared_data):
    source = shared_data / 'bags' / 'ros1' / 'aruco_images.bag'
    out = tmp_path / 'out.mcap'
    assert tam(source, '--prompt', '1:point:320,240', '--out', out, '--copy', 'all') == 0
    messages, original = read_bag(out), read_bag(source)
    assert set(messages) - set(original) == {'/track_node/labels', '/track_node/objects'}
    for topic, given in original.items():
        assert len(messages[topic]) == len(given)
        assert stamps(messages[topic]) == stamps(given)
    (info,) = [given for given in messages.values() if hasattr(given[0], 'distortion_model')]
    (info1,) = [given for given in original.values() if hasattr(given[0], 'distortion_model')]
    np.testing.assert_array_equal(info[0].k, info1[0].K)  # renamed in ROS 2
    np.testing.assert_array_equal(info[0].d, info1[0].D)
