# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of bags, and the errors of damaged ones."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from bagdata import IMAGE, serialized_image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from tam_ros.io.bag_source import BagSource
from tam_ros.io.bag_writer import BagWriter, message_types
from tam_ros.io.frames import Header, SourceError
from tam_ros.io.open_source import open_source

SUFFIXES = ('.mcap', '.db3', '.bag')
DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'


def data(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'../shared/data/{"/".join(parts)} is not here')
    return path


def grey(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def write_bag_of_kind(folder: Path, suffix: str) -> Path:
    """Write five images into a single file: `.mcap`, `.db3` (SQLite) or `.bag` (ROS 1)."""
    path = folder / f'drive{suffix}'
    if suffix == '.mcap':
        return write_bag(path)
    if suffix == '.db3':
        with Writer2(folder / 'drive', version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
            connection = writer.add_connection('/image', IMAGE, typestore=message_types())
            for index in range(5):
                data = serialized_image(Header(10**9 * (index + 5), 'camera'), grey(index))
                writer.write(connection, index, data)
        return (folder / 'drive' / 'drive.db3').rename(path)
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(path) as writer:
        connection = writer.add_connection('/image', IMAGE, typestore=store)
        for index in range(5):
            stamp = store.types['builtin_interfaces/msg/Time'](index + 5, 0)
            header = store.types['std_msgs/msg/Header'](index, stamp, 'camera')
            message = store.types[IMAGE](
                header, 48, 64, 'rgb8', 0, 3 * 64, grey(index).reshape(-1)
            )
            writer.write(connection, index, store.serialize_ros1(message, IMAGE))
    return path


def write_bag(path: Path, topics: tuple[str, ...] = ('/image',), frames: int = 5) -> Path:
    with BagWriter(path) as writer:
        for index in range(frames):
            for topic in topics:
                writer.write_image(topic, Header(10**9 * (index + 5), 'camera'), grey(index))
    return path


@pytest.mark.parametrize('name', ['drive.mcap', 'drive'])  # a single file, or a bag's folder
def test_bag(tmp_path, name):
    source = open_source(write_bag(tmp_path / name))
    frames = list(source)
    assert source.count == 5 and source.topic == '/image'
    assert [frame.header for frame in frames] == [
        Header(10**9 * k, 'camera') for k in range(5, 10)
    ]
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_every_kind_of_bag(tmp_path, suffix):
    frames = list(open_source(write_bag_of_kind(tmp_path, suffix)))
    assert [frame.header for frame in frames] == [
        Header(10**9 * k, 'camera') for k in range(5, 10)
    ]
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]


def test_several_image_topics_are_listed(tmp_path):
    path = write_bag(tmp_path / 'drive.mcap', ('/left/image', '/right/image'))
    with pytest.raises(SourceError, match='choose one') as error:
        open_source(path)
    assert '/left/image' in str(error.value) and '/right/image' in str(error.value)
    assert open_source(path, topic='/right/image').topic == '/right/image'
    assert open_source(path, topic='left/image').topic == '/left/image'


def test_a_missing_topic(tmp_path):
    path = write_bag(tmp_path / 'drive.mcap')
    with pytest.raises(SourceError, match="no image topic '/imagge'; it has /image"):
        open_source(path, topic='/imagge')


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[2000:20000] = b'\xff' * 18000
    path.write_bytes(content)


@pytest.mark.parametrize(
    'damage',
    [
        cut_in_half,  # the recorder was killed: no index at the end
        overwrite_middle,  # bad disk
        lambda path: path.write_bytes(b''),
        lambda path: path.write_bytes(b'\x89MCAP0\r\n'),
        lambda path: path.write_bytes(b'not a bag' * 200),
    ],
)
@pytest.mark.parametrize('suffix', SUFFIXES)
def test_damaged_bag(tmp_path, damage, suffix):
    path = write_bag_of_kind(tmp_path, suffix)
    damage(path)
    with pytest.raises(SourceError, match='cannot be read as a bag') as error:
        list(open_source(path))
    assert path.name in str(error.value)


def test_bag_folder_whose_file_is_gone(tmp_path):
    folder = write_bag(tmp_path / 'drive')
    (folder / 'drive.mcap').unlink()
    with pytest.raises(SourceError, match='missing'):
        open_source(folder)


def test_bag_without_images(tmp_path):
    with BagWriter(tmp_path / 'empty.mcap'):
        pass
    with pytest.raises(SourceError, match='no image topic'):
        open_source(tmp_path / 'empty.mcap')


def test_a_rate_is_refused(tmp_path):
    with pytest.raises(SourceError, match='stamps give the rate'):
        open_source(write_bag(tmp_path / 'drive.mcap'), rate_hz=10)


@pytest.mark.parametrize('name', ['', 'apc_scene0000_mcap.mcap'])
def test_real_mcap_takes_the_colour_topic(name):
    source = open_source(data('bags', 'apc_scene0000_mcap') / name)
    assert source.topic == '/camera/color/image_raw'  # the other image topic holds depth
    frames = list(source)
    assert len(frames) == source.count == 8
    assert frames[0].rgb.shape == (480, 640, 3) and frames[0].rgb.std() > 20
    stamps = [frame.stamp for frame in frames]
    assert stamps == sorted(stamps) and frames[0].header.frame_id


def test_depth_topics_are_refused():
    path = data('bags', 'apc_scene0000_mcap')
    with pytest.raises(SourceError, match='depth or other measurements'):
        list(open_source(path, topic='/camera/aligned_depth_to_color/image_raw'))


def test_real_ros1_bag():
    source = open_source(data('bags', 'ros1', 'aruco_images.bag'))
    (frame,) = source
    assert frame.rgb.ndim == 3 and frame.rgb.std() > 10
    assert frame.stamp > 1e9


@pytest.mark.parametrize('folder', ['test_bag_mcap', 'test_bag_sqlite3'])
def test_bags_with_malformed_images(folder):
    path = data('bags', 'odd', folder)
    with pytest.raises(SourceError, match='choose one'):
        BagSource(path)
    with pytest.raises(SourceError, match='no usable image .*too short: 30 bytes'):
        list(BagSource(path, '/test/sensor_msgs/image'))
    with pytest.raises(SourceError, match='no usable image'):
        list(BagSource(path, '/test/sensor_msgs/compressed_image'))


def test_malformed_messages_are_skipped(tmp_path, caplog):
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as writer:
        for index in range(3):
            header = Header(index + 1, 'camera')
            writer.write_image('/image', header, grey(index))
            broken = serialized_image(header, grey(index), missing=5)
            writer.write_serialized('/image', IMAGE, header.stamp_ns, broken)
    assert [int(frame.rgb[0, 0, 0]) for frame in open_source(path)] == [0, 1, 2]
    assert caplog.text.count('too short') == 1
    assert '/image: 3 messages skipped in total' in caplog.text


def test_many_malformed_messages_are_counted(tmp_path, caplog):
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        writer.write_image('/image', Header(1, ''), grey(0))
        for index in range(40):
            broken = serialized_image(Header(index + 2, ''), grey(0), missing=5)
            writer.write_serialized('/image', IMAGE, index + 2, broken)
    assert len(list(open_source(tmp_path / 'drive.mcap'))) == 1
    assert caplog.text.count('too short') == 1
    assert '/image: 40 messages skipped in total' in caplog.text


def test_truncated_copy_of_a_real_bag(tmp_path, caplog):
    """Only the index at the end is lost, which is not needed."""
    original = data('bags', 'apc_scene0000_mcap', 'apc_scene0000_mcap.mcap')
    path = Path(shutil.copy(original, tmp_path))
    path.write_bytes(path.read_bytes()[:-100])
    read = list(open_source(path))
    whole = list(open_source(original))
    (warning,) = {record.message for record in caplog.records}
    assert warning.startswith(f'{path}: the index at its end is damaged')
    assert [frame.header for frame in read] == [frame.header for frame in whole]
    np.testing.assert_array_equal(read[-1].rgb, whole[-1].rgb)


def test_killed_recording(tmp_path):
    """Half an MCAP file still has the topics, the rate and the messages before the cut."""
    rng = np.random.default_rng(0)
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as writer:
        for index in range(20):
            header = Header(10**9 + index * 10**8, 'camera')
            writer.write_image('/image', header, rng.integers(0, 255, (200, 300, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = open_source(path)
    read = []
    with pytest.raises(SourceError, match='truncated'):
        for frame in source:
            read.append(frame)
    assert 5 <= len(read) < 10 and source.count == len(read)
    assert source.rate_hz == pytest.approx(10)
    assert read[-1].header == Header(10**9 + (len(read) - 1) * 10**8, 'camera')
    # A file that has grown since is read again.
    path.write_bytes(content[: len(content) * 3 // 4])
    assert open_source(path).count > len(read)


def test_killed_recording_with_a_bad_sector(tmp_path):
    """Without an index and with a corrupt chunk, the messages before that chunk are read."""
    mcap = pytest.importorskip('mcap.writer', reason='the package mcap is not installed')
    path = tmp_path / 'drive.mcap'
    writer = mcap.Writer(str(path), chunk_size=50_000, compression=mcap.CompressionType.NONE)
    writer.start(profile='ros2')
    definition, _ = message_types().generate_msgdef(IMAGE, ros_version=2)
    schema = writer.register_schema(IMAGE, 'ros2msg', definition.encode())
    channel = writer.register_channel('/image', 'cdr', schema)
    for index in range(30):
        data = serialized_image(Header(index + 1, ''), grey(index))
        writer.add_message(channel, index, data, index)
    writer.finish()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b'\xff' * 4096
    path.write_bytes(content[:-500])
    read = []
    with pytest.raises(SourceError, match='drive.mcap is damaged before byte .*crc'):
        for frame in open_source(path):
            read.append(frame.header.stamp_ns)
    assert 5 <= len(read) <= 15 and read == list(range(1, len(read) + 1))


def test_killed_recording_without_the_package_mcap(tmp_path, monkeypatch):
    path = write_bag(tmp_path / 'drive.mcap')
    cut_in_half(path)
    monkeypatch.setitem(sys.modules, 'tam_ros.io.mcap_reader', None)
    with pytest.raises(SourceError, match='pip install mcap'):
        open_source(path)


def test_frames_have_the_time_of_recording(tmp_path):
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        writer.write_image('/image', Header(5, 'camera'), grey(0), recorded_ns=9)
        writer.write_image('/image', Header(12, 'camera'), grey(0))
    frames = list(open_source(tmp_path / 'drive.mcap'))
    assert [(f.header.stamp_ns, f.recorded_ns) for f in frames] == [(5, 9), (12, 12)]


def test_stamps_are_those_of_the_node():
    """Nanoseconds are divided, not multiplied: otherwise the floats differ in the last bit."""
    stamps_ns = [1_700_000_000_123_456_789 + 33_366_700 * index for index in range(50)]
    assert all(Header(stamp, '').stamp == stamp / 1_000_000_000 for stamp in stamps_ns)
