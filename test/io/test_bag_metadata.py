# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Our bags are read by rosbag2 of ROS 2 Humble, Iron and Jazzy.

The rules below were read from the sources of rosbag2 (ros2/rosbag2, branches humble at d256a5b,
iron at a269cd4, jazzy at 64717ee) and are applied here as yaml-cpp applies them: a value is text
with a place in the tree, and a conversion that does not fit is an error.

Humble, rosbag2_storage/src/rosbag2_storage/metadata_io.cpp:
  - The version is read and never compared with the latest one; unknown keys are ignored.
  - From version 4 `offered_qos_profiles` is a scalar, the YAML text of a list; a sequence, as
    version 9 has it, is "bad conversion" and the bag does not open.
  - From version 3 both compression keys are needed, from version 5 `files`.
  - All times and counts are unsigned.
Humble, rosbag2_transport/src/rosbag2_transport/{player,qos}.cpp:
  - An empty text means the default QoS. Otherwise each profile has all nine keys; history,
    reliability, durability and liveliness are numbers, those of `rmw/types.h`. Words, which Jazzy
    writes, are "bad conversion" when playing begins.
  - The publisher offers these values. A policy that is unknown, or that this distribution does
    not have yet, cannot be offered, and the topic is not played.
Humble, rosbag2_storage_mcap/src/mcap_storage.cpp: a single file has no metadata.yaml; the QoS is
  that of the channel's metadata, `offered_qos_profiles`, by the same rules.
Iron, rosbag2_storage/include/rosbag2_storage/yaml.hpp: from version 6 `custom_data`, a map or
  null, and from version 7 `type_description_hash` are needed as well.
Jazzy, rosbag2_storage/include/rosbag2_storage/yaml.hpp: from version 8 `ros_distro`; version 8
  and older have the QoS as Humble, version 9 as a sequence. qos.cpp: numbers and words are told
  apart by the history. mcap_storage.cpp: a single file's record `rosbag2` holds the metadata.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from tam_ros.io.bag_writer import BagWriter, message_types
from tam_ros.io.frames import Header

STAMP = 1_700_000_000_123_456_789
INFINITE = QosTime(9223372036, 854775807)


class Topic(NamedTuple):
    """A topic as a player knows it."""

    name: str
    type: str
    count: int
    qos: list[dict[str, int]]


class BadConversionError(Exception):
    """What yaml-cpp throws."""


class Node:
    """A node of yaml-cpp: converted when it is asked for."""

    def __init__(self, node: yaml.Node | None) -> None:
        self.node = node

    def __getitem__(self, key: str) -> Node:
        if not isinstance(self.node, yaml.MappingNode):
            return Node(None)
        return Node(next((value for name, value in self.node.value if name.value == key), None))

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            raise BadConversionError(f'not a scalar: {self.node}')
        return self.node.value

    def unsigned(self) -> int:
        text = self.text()
        if not text.isdigit():
            raise BadConversionError(f'not an unsigned number: {text!r}')
        return int(text)

    def sequence(self) -> list[Node]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise BadConversionError(f'not a sequence: {self.node}')
        return [Node(item) for item in self.node.value]

    def map_or_null(self) -> None:
        null = isinstance(self.node, yaml.ScalarNode) and self.node.tag.endswith(':null')
        if not null and not isinstance(self.node, yaml.MappingNode):
            raise BadConversionError(f'not a map: {self.node}')


def parse(text: str) -> Node:
    return Node(yaml.compose(text))


def times(node: Node) -> None:
    node['duration']['nanoseconds'].unsigned()
    node['starting_time']['nanoseconds_since_epoch'].unsigned()
    node['message_count'].unsigned()


def read_metadata(bag: Node) -> list[Topic]:
    """Read a bag's metadata as Humble, Iron and Jazzy do, all of them at once."""
    version = bag['version'].unsigned()
    assert 4 <= version <= 8, 'version 9 is read by Jazzy only; older ones lack the compression'
    assert bag['storage_identifier'].text() == 'mcap'
    times(bag)
    topics = []
    for item in bag['topics_with_message_count'].sequence():
        topic = item['topic_metadata']
        assert topic['serialization_format'].text() == 'cdr'
        if version >= 7:
            topic['type_description_hash'].text()
        qos = read_qos(topic['offered_qos_profiles'].text())
        count = item['message_count'].unsigned()
        topics.append(Topic(topic['name'].text(), topic['type'].text(), count, qos))
    for path in bag['relative_file_paths'].sequence():
        path.text()
    assert (bag['compression_format'].text(), bag['compression_mode'].text()) == ('', '')
    if version >= 5:
        for file in bag['files'].sequence():
            file['path'].text()
            times(file)
    if version >= 6:
        bag['custom_data'].map_or_null()
    if version >= 8:
        bag['ros_distro'].text()
    return topics


def read_qos(text: str) -> list[dict[str, int]]:
    """Read the QoS that a topic was offered with, as a player does."""
    if not text:
        return []
    profiles = []
    for profile in parse(text).sequence():
        for duration in ('deadline', 'lifespan', 'liveliness_lease_duration'):
            profile[duration]['sec'].unsigned()
            profile[duration]['nsec'].unsigned()
        assert profile['avoid_ros_namespace_conventions'].text() in ('true', 'false')
        policies = ('history', 'depth', 'reliability', 'durability', 'liveliness')
        values = {name: profile[name].unsigned() for name in policies}
        # Those that rmw of Humble can offer; a player replaces the history.
        assert values['reliability'] in (0, 1, 2)
        assert values['durability'] in (0, 1, 2)
        assert values['liveliness'] in (0, 1, 3)
        profiles.append(values)
    return profiles


def read_folder(folder: Path) -> list[Topic]:
    bag = parse((folder / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    (path,) = bag['relative_file_paths'].sequence()
    assert (folder / path.text()).is_file()
    return read_metadata(bag)


def read_file(path: Path) -> list[Topic]:
    """Read the topics of a single file as Humble does, and its metadata as Jazzy does."""
    with path.open('rb') as stream:
        reader = make_reader(stream)
        (record,) = [item for item in reader.iter_metadata() if item.name == 'rosbag2']
        read_metadata(parse(record.metadata['serialized_metadata']))
        summary = reader.get_summary()
    return [
        Topic(
            channel.topic,
            summary.schemas[channel.schema_id].name,
            summary.statistics.channel_message_counts[channel.id],
            read_qos(channel.metadata.get('offered_qos_profiles', '')),
        )
        for channel in summary.channels.values()
    ]


def qos(
    reliability: QosReliability = QosReliability.RELIABLE,
    durability: QosDurability = QosDurability.VOLATILE,
    liveliness: QosLiveliness = QosLiveliness.AUTOMATIC,
) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST, 5, reliability, durability, INFINITE, INFINITE, liveliness,
        INFINITE, False,
    )  # fmt: skip


def source(path: Path, offered: dict[str, list[Qos]], version: int) -> Path:
    """Write a bag with a text on each topic, which is offered with the given QoS."""
    types = message_types()
    data = types.serialize_cdr(types.types['std_msgs/msg/String']('hello'), 'std_msgs/msg/String')
    with Writer(path, version=version, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, profiles in offered.items():
            connection = writer.add_connection(
                topic, 'std_msgs/msg/String', typestore=types, offered_qos_profiles=profiles
            )
            writer.write(connection, STAMP, data)
    return path


def results(path: Path, copied: Path | None = None) -> list[Topic]:
    """Write a bag, with all topics of another; return its topics as a player sees them."""
    with BagWriter(path) as writer:
        writer.write_labels('/labels', Header(STAMP, ''), np.zeros((4, 5), np.uint8))
        writer.write_objects('/objects', Header(STAMP, ''), (4, 5), [])
        if copied:
            with AnyReader([copied]) as reader:
                append = writer.add_source(reader, reader.connections)
                for connection, time_ns, data in reader.messages():
                    append(connection, time_ns, data)
    return read_folder(path) if path.is_dir() else read_file(path)


NAMES = pytest.mark.parametrize('name', ['folder', 'out.mcap'])


@NAMES
def test_results(tmp_path, name):
    assert results(tmp_path / name) == [
        ('/labels', 'sensor_msgs/msg/Image', 1, []),
        ('/objects', 'tam_ros/msg/TrackedObjectArray', 1, []),
    ]


@NAMES
@pytest.mark.parametrize('version', [8, 9])
def test_copied_qos(tmp_path, name, version):
    """Topics of a bag of Jazzy (9) or older keep the QoS that they were recorded with."""
    latched = qos(durability=QosDurability.TRANSIENT_LOCAL)
    sensor = qos(QosReliability.BEST_EFFORT)
    given = {'/map': [latched, latched], '/scan': [sensor], '/plain': []}
    copied = results(tmp_path / name, source(tmp_path / 'source', given, version))[2:]
    assert [(item.name, item.count) for item in copied] == [
        ('/map', 1),
        ('/scan', 1),
        ('/plain', 1),
    ]
    expected = {'history': 1, 'depth': 5, 'reliability': 1, 'durability': 1, 'liveliness': 1}
    assert copied[0].qos == [expected, expected]
    assert copied[1].qos == [{**expected, 'reliability': 2, 'durability': 2}]
    assert copied[2].qos == []


@NAMES
def test_copied_qos_that_cannot_be_offered(tmp_path, name):
    """A policy that is not known, or only to later distributions: the player's default."""
    given = {
        '/a': [qos(QosReliability.BEST_AVAILABLE)],
        '/b': [qos(), qos(QosReliability.UNKNOWN)],
        '/c': [qos(durability=QosDurability.UNKNOWN)],
        '/d': [qos(liveliness=QosLiveliness.BEST_AVAILABLE)],
    }
    copied = results(tmp_path / name, source(tmp_path / 'source', given, 9))[2:]
    assert [len(item.qos) for item in copied] == [0, 1, 0, 0]


def test_the_bag_of_jazzy_is_refused_by_these_rules(tmp_path):
    """The rules above tell the difference: a bag of version 9, and words in place of numbers."""
    folder = source(tmp_path / 'v9', {'/map': [qos()]}, 9)
    text = (folder / 'metadata.yaml').read_text()
    with pytest.raises(BadConversionError, match='not a scalar'):
        read_metadata(
            parse(text.replace('version: 9', 'version: 8'))['rosbag2_bagfile_information']
        )
    with (folder / 'v9.mcap').open('rb') as stream:
        (channel,) = make_reader(stream).get_summary().channels.values()
    with pytest.raises(BadConversionError, match='not an unsigned number'):
        read_qos(channel.metadata['offered_qos_profiles'])
