# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Bags we write: read back by rosbags and by the `mcap` packages, complete when interrupted."""

from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from tam_ros.io.bag_writer import BagWriteError, BagWriter, message_types
from tam_ros.io.frames import Header
from tam_ros.new_output import OutputError

STAMP = 1_700_000_000_123_456_789


class State(str, Enum):
    VISIBLE = 'visible'
    LOST = 'lost'


def tracked_objects() -> list[SimpleNamespace]:
    """One visible and one lost object, as the tracker reports them."""
    seen = SimpleNamespace(
        id=1,
        state=State.VISIBLE,
        score=0.75,
        box=(3, 4, 13, 24),
        centroid=(7.5, 13.25),
        area=150,
        age_frames=8,
        age_seconds=0.5,
    )
    unseen = SimpleNamespace(
        id=300,
        state=State.LOST,
        score=0.01,
        box=None,
        centroid=None,
        area=0,
        age_frames=90,
        age_seconds=6.0,
    )
    return [seen, unseen]


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (30, 40, 3), np.uint8)


def labels(highest: int = 2) -> np.ndarray:
    image = np.zeros((30, 40), np.uint16)
    image[4:24, 3:13] = 1
    image[10:, 20:] = highest
    return image


def write(path: Path) -> Path:
    with BagWriter(path) as writer:
        for step in range(3):
            header = Header(STAMP + step * 10**8, 'camera_optical')
            writer.write_image('/image', header, picture())
            writer.write_labels('/labels', header, labels())
            writer.write_labels('/wide_labels', header, labels(300))
            writer.write_labels_png('/labels/compressed', header, labels())
            writer.write_objects('/objects', header, (30, 40), tracked_objects())
    return path


def check(messages: dict[str, list]) -> None:
    """Compare the messages that a reader returned, by topic, with those written."""
    assert {topic: len(given) for topic, given in messages.items()} == dict.fromkeys(
        ('/image', '/labels', '/wide_labels', '/labels/compressed', '/objects'), 3
    )
    for given in messages.values():
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in given]
        assert stamps == [STAMP, STAMP + 10**8, STAMP + 2 * 10**8]
        assert given[0].header.frame_id == 'camera_optical'
    image = messages['/image'][1]
    assert (image.encoding, image.height, image.width, image.step) == ('rgb8', 30, 40, 120)
    assert bytes(image.data) == picture().tobytes()
    mono = messages['/labels'][1]
    assert (mono.encoding, mono.step) == ('mono8', 40)
    assert bytes(mono.data) == labels().astype('u1').tobytes()
    wide = messages['/wide_labels'][1]
    assert (wide.encoding, wide.step) == ('16UC1', 80)
    assert bytes(wide.data) == labels(300).tobytes()
    png = messages['/labels/compressed'][1]
    assert png.format == 'mono8; png compressed '  # as the node publishes it
    decoded = cv2.imdecode(np.frombuffer(bytes(png.data), 'u1'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, labels())
    array = messages['/objects'][1]
    assert (array.height, array.width, len(array.objects)) == (30, 40, 2)
    seen, unseen = array.objects
    assert (seen.id, seen.state, seen.area, seen.age_frames) == (1, 1, 150, 8)
    assert (seen.score, seen.age_seconds) == (0.75, 0.5)
    box = seen.box
    assert (box.x_offset, box.y_offset, box.width, box.height) == (3, 4, 10, 20)
    assert (seen.centroid.x, seen.centroid.y, seen.centroid.z) == (7.5, 13.25, 0)
    assert (unseen.id, unseen.state, unseen.box.width, unseen.box.height) == (300, 3, 0, 0)
    assert np.isnan(unseen.centroid.x) and np.isnan(unseen.centroid.y)


@pytest.mark.parametrize('name', ['out.mcap', 'a folder'])
def test_read_back_by_rosbags(tmp_path, name):
    path = write(tmp_path / name)
    assert path.is_file() == (name == 'out.mcap')
    assert [item.name for item in tmp_path.iterdir()] == [name]
    messages: dict[str, list] = {}
    # Without a type store: the definitions come from the bag alone.
    with AnyReader([path]) as reader:
        for connection, stamp, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append(message)
            assert stamp == message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    check(messages)


def test_read_back_by_the_mcap_packages(tmp_path):
    reader = pytest.importorskip('mcap.reader', reason='the package mcap is not installed')
    ros2 = pytest.importorskip(
        'mcap_ros2.decoder', reason='the package mcap-ros2-support is not installed'
    )
    path = write(tmp_path / 'out.mcap')
    messages: dict[str, list] = {}
    with path.open('rb') as stream:
        opened = reader.make_reader(stream, decoder_factories=[ros2.DecoderFactory()])
        assert opened.get_header().profile == 'ros2'
        for _, channel, _, message in opened.iter_decoded_messages():
            messages.setdefault(channel.topic, []).append(message)
    check(messages)


def test_serialized_messages_are_written_unchanged(tmp_path):
    types = message_types()
    message = types.types['std_msgs/msg/String']('hello')
    data = bytes(types.serialize_cdr(message, message.__msgtype__))
    with BagWriter(tmp_path / 'out.mcap') as writer:
        writer.write_serialized('/word', 'std_msgs/msg/String', STAMP, data)
    with AnyReader([tmp_path / 'out.mcap']) as reader:
        ((connection, stamp, read),) = reader.messages()
        assert (connection.topic, stamp) == ('/word', STAMP)
        assert bytes(read) == data


@pytest.mark.parametrize('interruption', [KeyboardInterrupt, SystemExit, ValueError])
def test_interrupted_bag_is_complete_up_to_there(tmp_path, interruption):
    path = tmp_path / 'out.mcap'
    with pytest.raises(interruption), BagWriter(path) as writer:
        for step in range(4):
            writer.write_labels('/labels', Header(STAMP + step, ''), labels())
        raise interruption
    with AnyReader([path]) as reader:
        assert reader.message_count == 4


@pytest.mark.parametrize('name', ['out.mcap', 'folder'])
def test_nothing_is_overwritten(tmp_path, name):
    path = write(tmp_path / name)
    with pytest.raises(OutputError, match='exists'):
        BagWriter(path)


def test_folder_that_cannot_be_created(tmp_path):
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(OutputError, match='cannot be written'):
        BagWriter(tmp_path / 'file' / 'out.mcap')


def test_full_disk_is_reported(tmp_path, monkeypatch):
    writer = BagWriter(tmp_path / 'out.mcap')

    def no_space(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(writer._writer, 'write', no_space)
    with pytest.raises(BagWriteError, match='out.mcap cannot be written any further: .*No space'):
        writer.write_labels('/labels', Header(STAMP, ''), labels())
