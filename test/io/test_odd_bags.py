# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Bags as other recorders, hands and disks leave them: read, with what was skipped said once."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import zstandard
from bagdata import IMAGE, serialized_image
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2

from tam_ros.io import bag_reader
from tam_ros.io.bag_copy import BagCopy, topics_to_copy
from tam_ros.io.bag_reader import open_bag
from tam_ros.io.bag_source import BagSource
from tam_ros.io.bag_writer import BagWriteError, BagWriter, message_types
from tam_ros.io.frames import Header, SourceError
from tam_ros.io.image_folder import ImageFolder
from tam_ros.io.open_source import open_source

mcap = pytest.importorskip('mcap.writer', reason='the package mcap is not installed')

START = 1_700_000_000 * 10**9


def grey(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


def header(index: int) -> Header:
    return Header(START + index * 33_000_000, 'camera')


def levels(path: Path) -> list[int]:
    return [int(frame.rgb[0, 0, 0]) for frame in open_source(path)]


def write_mcap(path: Path, profile='ros2', extra=None, recorded=None, **options) -> Path:
    """Write six images; `extra`: (message encoding, schema encoding or None) of a second topic."""
    writer = mcap.Writer(str(path), **options)
    writer.start(profile=profile)
    definition, _ = message_types().generate_msgdef(IMAGE, ros_version=2)
    schema = writer.register_schema(IMAGE, 'ros2msg', definition.encode())
    channel = writer.register_channel('/image', 'cdr', schema)
    other = None
    if extra is not None:
        number = writer.register_schema('status', extra[1], b'{}') if extra[1] else 0
        other = writer.register_channel('/status', extra[0], number)
    for index in range(6):
        time = header(index).stamp_ns if recorded is None else recorded[index]
        writer.add_message(channel, time, serialized_image(header(index), grey(index)), time)
        if other is not None:
            writer.add_message(other, time, b'{"a": 1}', time)
    writer.finish()
    return path


def write_folder(path: Path, first: int = 0) -> Path:
    with BagWriter(path) as writer:
        for index in range(first, first + 3):
            writer.write_image('/image', header(index), grey(index))
    return path


NO_INDEX = {
    'use_statistics': False,
    'use_summary_offsets': False,
    'repeat_channels': False,
    'repeat_schemas': False,
    'index_types': mcap.IndexType.NONE,
}


@pytest.mark.parametrize('profile', ['ros2', '', 'x'])
@pytest.mark.parametrize(
    'extra', [None, ('json', 'jsonschema'), ('json', None), ('protobuf',) * 2]
)
@pytest.mark.parametrize('options', [{}, {'use_chunking': False}, NO_INDEX])
def test_mcap_of_other_recorders(tmp_path, caplog, profile, extra, options):
    path = write_mcap(tmp_path / 'a.mcap', profile, extra, **options)
    source = open_source(path)
    assert source.count == 6 and source.rate_hz == pytest.approx(1000 / 33)
    assert levels(path) == [*range(6)]
    notes = {record.message for record in caplog.records}
    assert bool(notes) == (extra is not None)
    assert all('not ROS 2 messages, skipped: /status (' in note for note in notes)
    assert topics_to_copy(path)[0] == ['/image']


def test_messages_out_of_order_by_a_millisecond(tmp_path):
    recorded = [START + index * 33_000_000 for index in (0, 2, 1, 3, 5, 4)]
    path = write_mcap(tmp_path / 'a.mcap', recorded=recorded, use_chunking=False)
    times = [frame.recorded_ns for frame in open_source(path)]
    assert times == sorted(recorded)


def test_the_order_of_writing_is_kept_where_the_clock_of_the_recorder_steps_back(tmp_path):
    recorded = [
        START + index * 33_000_000 - (3600 * 10**9 if index > 2 else 0) for index in range(6)
    ]
    path = write_mcap(tmp_path / 'a.mcap', recorded=recorded)
    assert levels(path) == [*range(6)]
    assert open_source(path).rate_hz == pytest.approx(1000 / 33)


def test_a_message_recorded_at_time_zero_does_not_spoil_the_rate(tmp_path):
    recorded = [0, *[header(index).stamp_ns for index in range(1, 6)]]
    path = write_mcap(tmp_path / 'a.mcap', recorded=recorded)
    assert open_source(path).rate_hz == pytest.approx(1000 / 33)


@pytest.mark.parametrize('name', ['A.MCAP', 'without suffix', 'wrong.db3', 'odd %41 #?.mcap'])
def test_a_file_is_known_by_its_content(tmp_path, name):
    assert levels(write_mcap(tmp_path / name)) == [*range(6)]


def test_a_folder_may_be_named_like_a_ros1_bag(tmp_path):
    assert levels(write_folder(tmp_path / 'run.bag')) == [0, 1, 2]


def sqlite_bag(folder: Path) -> Path:
    with Writer2(folder, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection('/image', IMAGE, typestore=message_types())
        for index in range(3):
            data = serialized_image(header(index), grey(index))
            writer.write(connection, header(index).stamp_ns, data)
    return folder


def test_sqlite_with_characters_that_mean_something_in_uris(tmp_path):
    folder = sqlite_bag(tmp_path / 'bag').rename(tmp_path / 'a %41 #?b')
    assert levels(folder) == levels(folder / 'bag.db3') == [0, 1, 2]


def test_sqlite_is_read_as_it_was_written_when_the_clock_was_set_back(tmp_path):
    folder = sqlite_bag(tmp_path / 'bag')
    second = header(0).stamp_ns + 10**9
    with closing(sqlite3.connect(folder / 'bag.db3')) as database:
        # The last two images were recorded after the clock had been set back by a second.
        database.execute('UPDATE messages SET timestamp = ? WHERE id = 1', (second,))
        database.commit()
    assert levels(folder) == [0, 1, 2]


def test_sqlite_is_read_up_to_the_damage(tmp_path):
    with Writer2(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection('/image', IMAGE, typestore=message_types())
        for index in range(40):
            pixels = np.full((40, 60, 3), index, np.uint8)
            data = serialized_image(header(index), pixels)
            writer.write(connection, header(index).stamp_ns, data)
    path = tmp_path / 'bag/bag.db3'
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 40_000] = bytes(40_000)
    path.write_bytes(content)
    read = []
    with pytest.raises(SourceError, match='Everything before the damage was read'):
        for frame in open_source(path):
            read.append(int(frame.rgb[0, 0, 0]))
    assert len(read) > 10 and read == list(range(len(read)))


def test_sqlite_with_a_log_of_a_recorder_that_was_killed(tmp_path):
    folder = sqlite_bag(tmp_path / 'bag')
    database = sqlite3.connect(folder / 'bag.db3')
    database.execute('PRAGMA journal_mode=WAL')
    database.execute('PRAGMA wal_autocheckpoint=0')
    database.execute(
        'INSERT INTO messages(topic_id, timestamp, data) '
        'SELECT topic_id, timestamp + 100000000, data FROM messages WHERE id = 3'
    )
    database.commit()
    killed = tmp_path / 'killed'
    shutil.copytree(folder, killed)  # the log has not been written back
    database.close()
    assert levels(killed / 'bag.db3') == [0, 1, 2, 2]


def replaced(pattern: str, text: str):
    def change(folder: Path) -> None:
        file = folder / 'metadata.yaml'
        content = file.read_text()
        changed = re.sub(pattern, text, content)
        assert changed != content
        file.write_text(changed)

    return change


QOS = r'offered_qos_profiles: .*'


@pytest.mark.parametrize(
    'change',
    [
        replaced(QOS, 'offered_qos_profiles:'),
        replaced(QOS, 'offered_qos_profiles: "- history: 9"'),
        replaced(QOS, 'offered_qos_profiles: [{history: keep_last, depth: 10}]'),
        replaced('message_count: 3', 'message_count: 0'),
        replaced(r'version: \d+', 'version: 99'),
        replaced(r'bag\.mcap', 'old_0.mcap'),
        replaced(r'(?s).*', ''),
        lambda folder: (folder / 'metadata.yaml').unlink(),
        lambda folder: (folder / '._bag.mcap').write_bytes(b'\0\5\x16\7' * 99),
        lambda folder: (folder / '._metadata.yaml').write_bytes(b'\0\5\x16\7' * 99),
        lambda folder: cv2.imwrite(str(folder / 'screenshot.png'), grey(0)),
        lambda folder: shutil.copy(folder / 'bag.mcap', folder / 'copy.mcap'),
    ],
)
def test_a_folder_whose_metadata_is_wrong_or_that_has_other_files(tmp_path, change):
    folder = write_folder(tmp_path / 'bag')
    change(folder)
    assert levels(folder) == [0, 1, 2]


def test_sqlite_without_metadata(tmp_path):
    folder = sqlite_bag(tmp_path / 'bag')
    (folder / 'metadata.yaml').unlink()
    (folder / '._bag.db3').write_bytes(b'\0\5\x16\7' * 99)
    assert levels(folder) == [0, 1, 2]


def split(folder: Path, metadata: bool = True) -> Path:
    """Two files, as `ros2 bag record --max-bag-duration` leaves them."""
    first, second = write_folder(folder.parent / 'p'), write_folder(folder.parent / 'q', 3)
    folder.mkdir()
    shutil.copy(first / 'p.mcap', folder / 's_0.mcap')
    shutil.copy(second / 'q.mcap', folder / 's_1.mcap')
    if metadata:
        text = (first / 'metadata.yaml').read_text()
        text = re.sub(r'( *)- p\.mcap', r'\1- s_0.mcap\n\1- s_1.mcap', text)
        (folder / 'metadata.yaml').write_text(text)
    return folder


@pytest.mark.parametrize('metadata', [True, False])
def test_a_split_bag(tmp_path, metadata):
    folder = split(tmp_path / 's', metadata)
    assert levels(folder) == [*range(6)] and open_source(folder).count == 6


def test_half_of_a_split_bag(tmp_path, caplog):
    folder = split(tmp_path / 's')
    (folder / 's_1.mcap').unlink()
    assert levels(folder) == [0, 1, 2]
    assert 'missing, though metadata.yaml lists them: s_1.mcap' in caplog.text


def test_several_recordings_in_a_folder_are_not_joined(tmp_path):
    write_mcap(tmp_path / 'morning.mcap')
    write_mcap(tmp_path / 'evening.mcap')
    with pytest.raises(SourceError, match='several recordings: choose one of evening.mcap, mor'):
        open_source(tmp_path)


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('mode', [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_compressed_bags(tmp_path, plugin, mode):
    writer = Writer2(tmp_path / 'bag', version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/image', IMAGE, typestore=message_types())
        for index in range(3):
            data = serialized_image(header(index), grey(index))
            writer.write(connection, header(index).stamp_ns, data)
    assert levels(tmp_path / 'bag') == [0, 1, 2]
    for file in (tmp_path / 'bag').glob('*.zstd'):
        with pytest.raises(SourceError, match='is compressed: unpack it with `unzstd`'):
            open_source(file)


def test_an_image_folder_with_somebodys_metadata(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f'{index}.png'), grey(index))
    (tmp_path / 'metadata.yaml').write_text('camera: left\n')
    (tmp_path / '._0.png').write_bytes(b'\0\5\x16\7')
    write_mcap(tmp_path / 'results.mcap')
    assert isinstance(open_source(tmp_path), ImageFolder)
    assert levels(tmp_path) == [0, 1, 2]


def test_damage_is_named_only_where_there_is_damage(tmp_path):
    path = tmp_path / 'a.mcap'
    writer = mcap.Writer(str(path))
    writer.start(profile='')
    schema = writer.register_schema('status', 'jsonschema', b'{}')
    writer.add_message(writer.register_channel('/status', 'json', schema), 1, b'{}', 1)
    writer.finish()
    with pytest.raises(SourceError, match='has no image topic') as error:
        open_source(path)
    assert 'damaged' not in str(error.value)


def test_zero_and_constant_stamps_give_way_to_the_times_of_recording(tmp_path, caplog):
    for name, stamps_ns in (('zero', [0] * 6), ('same', [START] * 6)):
        path = tmp_path / f'{name}.mcap'
        with BagWriter(path) as writer:
            for index, stamp_ns in enumerate(stamps_ns):
                data = serialized_image(Header(stamp_ns, ''), grey(index))
                writer.write_serialized('/image', IMAGE, header(index).stamp_ns, data)
        source = BagSource(path)
        for _ in range(2):  # as both-ways tracking reads it
            frames = list(source)
            assert [one.header.stamp_ns for one in frames] == [
                header(index).stamp_ns for index in range(6)
            ]
        assert source.rate_hz == pytest.approx(1000 / 33)
        assert caplog.text.count('the time of arrival is used') == 1
        caplog.clear()


def test_the_first_message_may_be_of_another_kind(tmp_path):
    with BagWriter(tmp_path / 'a.mcap') as writer:
        broken = serialized_image(header(0), grey(0)).replace(b'rgb8', b'8UC9')
        writer.write_serialized('/image', IMAGE, header(0).stamp_ns, broken)
        for index in range(1, 4):
            writer.write_image('/image', header(index), grey(index))
    assert levels(tmp_path / 'a.mcap') == [1, 2, 3]


def records(data: bytes) -> list[tuple[int, int, int]]:
    """Return opcode, start and end of each record of an MCAP file."""
    found, at = [], 8
    while at < len(data) - 8:
        end = at + 9 + int.from_bytes(data[at + 1 : at + 9], 'little')
        found.append((data[at], at, end))
        at = end
    return found


CHUNK, MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END, FOOTER = 6, 7, 8, 0xB, 0xF, 2


def without(path: Path, opcode: int, which: int) -> Path:
    data = path.read_bytes()
    _, start, end = [item for item in records(data) if item[0] == opcode][which]
    path.write_bytes(data[:start] + data[end:])
    return path


def test_all_messages_are_read_whatever_is_missing_in_the_index(tmp_path, monkeypatch):
    for opcode, which in ((CHUNK_INDEX, 0), (CHUNK_INDEX, 1), (STATISTICS, 0), (MESSAGE_INDEX, 1)):
        path = without(
            write_mcap(tmp_path / f'{opcode}_{which}.mcap', chunk_size=20_000), opcode, which
        )
        assert levels(path) == [*range(6)]
    # Without the package mcap, rosbags goes by the index.
    path = without(write_mcap(tmp_path / 'b.mcap', chunk_size=20_000), CHUNK_INDEX, 0)
    monkeypatch.setitem(sys.modules, 'tam_ros.io.mcap_reader', None)
    with pytest.raises(SourceError):
        levels(path)


@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('options', [{}, {'use_statistics': False}])
def test_messages_that_are_announced_and_missing_are_reported(tmp_path, which, options):
    path = without(write_mcap(tmp_path / 'a.mcap', chunk_size=20_000, **options), CHUNK, which)
    read = []
    with pytest.raises(SourceError, match='announces 6 messages, but only 3 can be read'):
        for frame in open_source(path):
            read.append(int(frame.rgb[0, 0, 0]))
    assert read == ([3, 4, 5] if which == 0 else [0, 1, 2])


def test_damage_after_the_messages_is_a_warning(tmp_path, caplog):
    path = write_mcap(tmp_path / 'a.mcap')
    data = bytearray(path.read_bytes())
    place = next(start for opcode, start, _ in records(data) if opcode == STATISTICS)
    data[place + 1 : place + 9] = b'\xff' * 8
    path.write_bytes(data)
    assert levels(path) == levels(path) == [*range(6)]
    assert caplog.text.count('the index at its end is damaged') == 1


def test_a_chunk_that_announces_too_much_is_not_unpacked(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap')
    data = bytearray(path.read_bytes())
    place = next(start for opcode, start, _ in records(data) if opcode == CHUNK)
    data[place + 25 : place + 33] = (1 << 40).to_bytes(8, 'little')
    path.write_bytes(data)
    with pytest.raises(SourceError, match='not enough memory'):
        levels(path)


def test_metadata_that_lists_more_messages_than_there_are(tmp_path, caplog):
    folder = write_folder(tmp_path / 'bag')
    replaced('message_count: 3', 'message_count: 5')(folder)
    assert levels(folder) == [0, 1, 2]
    assert 'metadata.yaml lists 2 more messages than there are' in caplog.text


@pytest.mark.parametrize('paths', ['{a: 1}', 'bag.mcap', '[1, null, [x]]', '[[' * 2000])
def test_a_list_of_files_of_another_type(tmp_path, paths):
    folder = write_folder(tmp_path / 'bag')
    replaced(r'relative_file_paths:\n *- bag\.mcap', f'relative_file_paths: {paths}')(folder)
    assert levels(folder) == [0, 1, 2]


def test_what_the_user_of_a_bag_raises_is_not_damage(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap')
    with pytest.raises(ZeroDivisionError), open_bag(path) as reader:
        for _ in reader.messages():
            raise ZeroDivisionError


@pytest.mark.parametrize('time', [-1, 1.5, 'noon', 2**63 - 1])
def test_times_of_sqlite_may_be_anything(tmp_path, caplog, time):
    folder = sqlite_bag(tmp_path / 'bag')
    with closing(sqlite3.connect(folder / 'bag.db3')) as database:
        database.execute('UPDATE messages SET timestamp = ? WHERE id = 2', (time,))
        database.commit()
    frames = list(open_source(folder))
    assert sorted(int(frame.rgb[0, 0, 0]) for frame in frames) == [0, 1, 2]
    assert ('no valid time of recording' in caplog.text) == (time != 2**63 - 1)
    with BagWriter(tmp_path / 'copy') as writer:
        BagCopy(folder, ['/image'], writer).copy_rest()
    assert len(levels(tmp_path / 'copy')) == 3


def test_messages_of_a_topic_that_is_not_listed_are_reported(tmp_path, caplog):
    folder = sqlite_bag(tmp_path / 'bag')
    with closing(sqlite3.connect(folder / 'bag.db3')) as database:
        database.execute('UPDATE messages SET topic_id = 9 WHERE id = 2')
        database.commit()
    assert levels(folder) == [0, 2]
    assert 'skipped: 1 whose topic is not listed' in caplog.text


def test_a_definition_may_lack_what_an_image_has(tmp_path):
    for name, text in (
        ('none', 'uint8 a'),
        ('header', 'int32 header\nstring encoding'),
        ('stamp', 'std_msgs/Header header\n' + '=' * 80 + '\nMSG: std_msgs/Header\nstring stamp'),
        ('encoding', 'uint32 height\nbuiltin_interfaces/Time timestamp\nstring frame_id'),
    ):
        path = tmp_path / f'{name}.mcap'
        writer = mcap.Writer(str(path))
        writer.start(profile='ros2')
        schema = writer.register_schema(IMAGE, 'ros2msg', text.encode())
        channel = writer.register_channel('/image', 'cdr', schema)
        writer.add_message(channel, 1, bytes([0, 1, 0, 0]) + bytes(100), 1)
        writer.finish()
        with pytest.raises(SourceError, match='image'):
            levels(path)


def test_a_time_that_a_bag_cannot_hold(tmp_path):
    with BagWriter(tmp_path / 'a.mcap') as writer:
        for stamp_ns, recorded_ns in ((10**9, -1), (1 << 62, 5)):
            with pytest.raises(BagWriteError, match='time'):
                writer.write_image('/image', Header(stamp_ns, ''), grey(0), recorded_ns)
        writer.write_image('/image', Header(-(10**9), ''), grey(7), 5)
    assert levels(tmp_path / 'a.mcap') == [7]


def test_a_compressed_message_that_is_a_bomb_is_skipped(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(bag_reader, '_MAX_MESSAGE', 10_000)
    writer = Writer2(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.SQLITE3)
    with writer:
        connection = writer.add_connection('/image', IMAGE, typestore=message_types())
        for index in range(3):
            data = serialized_image(header(index), grey(index))
            data = zstandard.compress(bytes(10**6) if index == 1 else data)
            writer.write(connection, header(index).stamp_ns, data)
    assert levels(tmp_path / 'bag') == [0, 2]
    assert 'message 2 skipped' in caplog.text


def test_a_compressed_bag_whose_metadata_has_another_type(tmp_path):
    """rosbags fails while it closes such a bag, after everything was read."""
    writer = Writer2(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/image', IMAGE, typestore=message_types())
        writer.write(connection, 1, serialized_image(header(0), grey(0)))
    replaced(r'(?s)  files:.*?(?=\n  \w)', "  files: 'x'")(tmp_path / 'bag')
    with contextlib.suppress(SourceError):
        assert levels(tmp_path / 'bag') == [0]
