# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What `record:=true` records, and into which folder."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tam_ros.ros import recording

REMAPPED = {
    'image': 'color/image',
    'camera_info': '/shared/info',
    'depth': 'depth/image',
    '~/click': 'color/image_mouse_left',
    'clicked_point': '/clicked_point',
    '~/detections': '~/detections',
}
TIME = '20261128_140000'


def test_all_that_a_session_needs():
    assert recording.topics('front', 'eye', REMAPPED, {}) == [
        '/front/color/image',
        '/front/depth/image',
        '/shared/info',
        '/clicked_point',
        '/front/eye/prompt',
        '/front/eye/mask_prompt',
        '/front/color/image_mouse_left',
        '/front/eye/overlay_mouse_left',
        '/front/eye/detections',
        '/front/eye/labels/compressed',
        '/front/eye/objects',
        '/front/eye/label_info',
        '/tf',
        '/tf_static',
        '/diagnostics',
    ]


def test_without_a_namespace():
    topics = recording.topics('', 'track_node', REMAPPED, {})
    assert '/color/image' in topics and '/track_node/prompt' in topics
    assert not any('//' in topic for topic in topics)


def test_every_prompt_topic_is_recorded():
    """Also one that is added later."""
    from tam_ros.ros.track_node import SOURCES

    port = MagicMock()
    for source in SOURCES:
        source(port)
    subscribed = {call.args[1] for call in port.subscribe.call_args_list}
    assert {'~/prompt', '~/mask_prompt', '~/click', 'clicked_point'} <= subscribed
    unchanged = {name: name for name in ('image', 'camera_info', 'depth', 'clicked_point')}
    recorded = recording.topics('', 'track_node', unchanged, {})
    full = {topic.replace('~/', 'track_node/') for topic in subscribed}
    assert {f'/{topic}' for topic in full} <= set(recorded)


@pytest.mark.parametrize(
    ('image', 'transport', 'recorded'),
    [
        ('/cam/image', 'raw', '/cam/image'),
        ('/cam/image', 'compressed', '/cam/image/compressed'),
        ('/cam/image/compressed', 'compressed', '/cam/image/compressed'),
        ('/cam/image', 'not one', '/cam/image'),
    ],
)
def test_images_are_recorded_as_the_node_receives_them(image, transport, recorded):
    topics = recording.topics(
        '', 'eye', {**REMAPPED, 'image': image}, {'image_transport': transport}
    )
    assert topics[0] == recorded


def test_depth_is_recorded_as_the_node_receives_it():
    topics = recording.topics('', 'eye', REMAPPED, {'depth_transport': 'compressedDepth'})
    assert topics[:2] == ['/color/image', '/depth/image/compressedDepth']


@pytest.mark.parametrize(
    ('wanted', 'namespace', 'folder'),
    [
        ('', '', f'tam_ros_{TIME}'),
        ('', '/front', f'tam_ros_{TIME}/front'),
        ('day1', '', 'day1'),
        ('day1/', '/', 'day1'),
        ('day1', 'robot/front/', 'day1/robot/front'),
        ('/data/day1', 'front', '/data/day1/front'),
    ],
)
def test_a_new_folder(tmp_path, monkeypatch, wanted, namespace, folder):
    """The text has no slash at its end, from which ros2 bag would make a file `_0.mcap`."""
    monkeypatch.chdir(tmp_path)
    assert str(recording.new_folder(wanted, namespace, TIME)) == folder


def test_nothing_is_overwritten(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    assert recording.new_folder(str(disk), '', TIME) == disk / f'tam_ros_{TIME}'
    (disk / 'metadata.yaml').touch()
    assert recording.new_folder(str(disk), '', TIME) == tmp_path / f'disk_{TIME}'
    front = disk / 'front'
    front.mkdir()
    (front / 'front_0.mcap').touch()
    assert recording.new_folder(str(disk), 'front', TIME) == disk / f'front_{TIME}'
    file = tmp_path / 'file'
    file.touch()
    assert recording.new_folder(str(file), '', TIME) == tmp_path / f'file_{TIME}'


def test_the_folder_of_the_user(tmp_path, monkeypatch):
    """The shell does not replace ~ after :=."""
    monkeypatch.setenv('HOME', str(tmp_path))
    assert recording.new_folder('~/day1', '', TIME) == tmp_path / 'day1'


def test_the_command():
    command = recording.command(Path('day1/front'), ['/image', '/tf'], use_sim_time=True)
    assert command[:3] == ['ros2', 'bag', 'record']
    assert command[command.index('--output') + 1] == 'day1/front'
    assert '--use-sim-time' in command
    assert command[-2:] == ['/image', '/tf']
    assert '--use-sim-time' not in recording.command(Path('day1'), ['/tf'], use_sim_time=False)
