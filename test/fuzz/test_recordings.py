# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Videos and bags of every kind: read, or refused in words, and nothing is lost in silence."""

from __future__ import annotations

import copy
import logging
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bagdata import IMAGE, serialized_image
from hypothesis import given
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from fuzz.mutations import OPERATIONS, cached, fuzzed, mutated, only, trees
from tam_ros.io.bag_copy import BagCopy, topics_to_copy
from tam_ros.io.bag_writer import BagWriteError, BagWriter, message_types
from tam_ros.io.frames import Header, SourceError
from tam_ros.io.open_source import open_source

COUNT = 5


def frame(index: int) -> np.ndarray:
    return np.full((8, 10, 3), 30 * index, np.uint8)


def header(index: int) -> Header:
    return Header((1_700_000_000 + index) * 10**9, 'camera')


def made(write) -> dict[str, bytes]:
    """Return the files that a function writes into a folder, by name."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in Path(folder).rglob('*')
            if path.is_file()
        }


def rosbag2(plugin: StoragePlugin, mode: CompressionMode = CompressionMode.NONE):
    def write(folder: Path) -> None:
        writer = Writer2(folder / 'bag', version=8, storage_plugin=plugin)
        if mode is not CompressionMode.NONE:
            writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            connection = writer.add_connection('/image', IMAGE, typestore=message_types())
            for index in range(COUNT):
                data = serialized_image(header(index), frame(index))
                writer.write(connection, header(index).stamp_ns, data)

    return write


def other_mcap(folder: Path) -> None:
    mcap = pytest.importorskip('mcap.writer', reason='the package mcap is not installed')
    writer = mcap.Writer(str(folder / 'a.mcap'), chunk_size=900)
    writer.start(profile='ros2')
    definition, _ = message_types().generate_msgdef(IMAGE, ros_version=2)
    schema = writer.register_schema(IMAGE, 'ros2msg', definition.encode())
    channel = writer.register_channel('/image', 'cdr', schema)
    for index in range(COUNT):
        data = serialized_image(header(index), frame(index))
        writer.add_message(channel, header(index).stamp_ns, data, header(index).stamp_ns)
    writer.finish()


def ros1(folder: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(folder / 'a.bag') as writer:
        connection = writer.add_connection('/image', IMAGE, typestore=store)
        for index in range(COUNT):
            stamp = store.types['builtin_interfaces/msg/Time'](1_700_000_000 + index, 0)
            message = store.types[IMAGE](
                store.types['std_msgs/msg/Header'](index, stamp, 'camera'),
                *(8, 10, 'rgb8', 0, 30, frame(index).reshape(-1)),
            )
            data = store.serialize_ros1(message, IMAGE)
            writer.write(connection, header(index).stamp_ns, data)


BAGS = {
    'mcap of rosbags': cached(lambda: made(rosbag2(StoragePlugin.MCAP))),
    'mcap of others': cached(lambda: made(other_mcap)),
    'sqlite': cached(lambda: made(rosbag2(StoragePlugin.SQLITE3))),
    'ros1': cached(lambda: made(ros1)),
}


class Warnings(logging.Handler):
    """What was said, whatever else is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def __enter__(self) -> Warnings:
        logging.getLogger('tam_ros').addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger('tam_ros').removeHandler(self)


def read(path: Path, names: str) -> None:
    """Read a recording of `COUNT` images; what is missing must be reported."""
    count = 0
    complete = False
    with Warnings() as warnings, only(SourceError, names=names):
        for _ in open_source(path):
            count += 1
        complete = True
    if complete and count < COUNT:
        assert warnings.texts, f'{count} of {COUNT} images, and not a word'
    assert all(text.isprintable() and len(text) < 5000 for text in warnings.texts)


@pytest.mark.parametrize('kind', BAGS)
@fuzzed(60)
@given(operations=OPERATIONS)
def test_single_files(tmp_path, kind, operations):
    (name, data), *_ = [item for item in BAGS[kind]().items() if not item[0].endswith('yaml')]
    path = tmp_path / Path(name).name
    path.write_bytes(mutated(data, operations))
    read(path, path.name)


@pytest.mark.parametrize('kind', BAGS)
@fuzzed(12)
@given(operations=OPERATIONS)
def test_copies_of_damaged_bags(tmp_path, kind, operations):
    (name, data), *_ = [item for item in BAGS[kind]().items() if not item[0].endswith('yaml')]
    path = tmp_path / Path(name).name
    path.write_bytes(mutated(data, operations))
    with Warnings(), only(SourceError, BagWriteError, names=str(tmp_path)):
        topics, _ = topics_to_copy(path)
        shutil.rmtree(tmp_path / 'copy', ignore_errors=True)
        with BagWriter(tmp_path / 'copy') as writer:
            BagCopy(path, topics, writer).copy_rest()


FOLDERS = {
    'mcap': BAGS['mcap of rosbags'],
    'sqlite': BAGS['sqlite'],
    'messages': cached(lambda: made(rosbag2(StoragePlugin.SQLITE3, CompressionMode.MESSAGE))),
    'file': cached(lambda: made(rosbag2(StoragePlugin.SQLITE3, CompressionMode.FILE))),
    'storage': cached(lambda: made(rosbag2(StoragePlugin.MCAP, CompressionMode.STORAGE))),
}
METADATA = cached(lambda: yaml.safe_load(FOLDERS['file']()['bag/metadata.yaml']))


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder / 'bag', ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(data)
    return folder / 'bag'


@pytest.mark.parametrize('kind', FOLDERS)
@fuzzed(30)
@given(operations=OPERATIONS)
def test_folders_with_a_damaged_file(tmp_path, kind, operations):
    files = dict(FOLDERS[kind]())
    name = next(name for name in files if not name.endswith('yaml'))
    read(unpacked(tmp_path, {**files, name: mutated(files[name], operations)}), str(tmp_path))


@pytest.mark.parametrize('kind', ['file', 'mcap'])
@fuzzed(60)
@given(metadata=trees(METADATA()))
def test_metadata_of_other_types(tmp_path, kind, metadata):
    files = dict(FOLDERS[kind]())
    original = yaml.safe_load(files['bag/metadata.yaml'])
    changed = copy.deepcopy(metadata)
    if kind == 'mcap' and isinstance(changed, dict):
        information = changed.get('rosbag2_bagfile_information')
        if isinstance(information, dict) and information.get('relative_file_paths') == [
            'bag.db3.zstd'
        ]:
            information['relative_file_paths'] = original['rosbag2_bagfile_information'][
                'relative_file_paths'
            ]
    files['bag/metadata.yaml'] = yaml.safe_dump(changed, allow_unicode=True).encode()
    read(unpacked(tmp_path, files), str(tmp_path))


@fuzzed(40)
@given(operations=OPERATIONS)
def test_damaged_metadata(tmp_path, operations):
    files = dict(FOLDERS['file']())
    files['bag/metadata.yaml'] = mutated(files['bag/metadata.yaml'], operations)
    read(unpacked(tmp_path, files), str(tmp_path))


def video(suffix: str, codec: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f'a{suffix}'
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (32, 16))
        for index in range(COUNT):
            writer.write(np.full((16, 32, 3), 30 * index, np.uint8))
        writer.release()
        return path.read_bytes()


VIDEOS = {
    '.avi': cached(lambda: video('.avi', 'MJPG')),
    '.mp4': cached(lambda: video('.mp4', 'mp4v')),
    '.mkv': cached(lambda: video('.mkv', 'mp4v')),
}


@pytest.mark.parametrize('suffix', VIDEOS)
@fuzzed(25)
@given(operations=OPERATIONS)
def test_videos(tmp_path, suffix, operations):
    path = tmp_path / f'film{suffix}'
    path.write_bytes(mutated(VIDEOS[suffix](), operations))
    with Warnings(), only(SourceError, names=path.name):
        list(open_source(path))
