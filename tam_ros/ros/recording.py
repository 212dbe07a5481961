# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What `record:=true` of the launch files records, and into which folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from posixpath import join

from tam_ros.interfaces import LABELS_PNG, OBJECTS
from tam_ros.ros.distribution import BEFORE_RECORDED_TOPICS
from tam_ros.ros.images.transports import DEPTH, IMAGES, Transport

_INPUTS = ('camera_info', 'clicked_point')
# What the session needs to be played again, and its results. ~/labels is large and adds nothing to
# the same as PNG.
_OF_THE_NODE = (
    *('~/prompt', '~/mask_prompt', '~/click', '~/overlay_mouse_left', '~/detections'),
    *(LABELS_PNG, OBJECTS, '~/label_info'),
)
_OF_ALL_NODES = ('/tf', '/tf_static', '/diagnostics')


def topics(
    namespace: str, name: str, remapped: Mapping[str, str], transports: Mapping[str, str]
) -> list[str]:
    """Return the full names of what is recorded: all inputs of the node, and its results.

    Args:
        namespace: namespace of the node.
        name: name of the node.
        remapped: its topics by the names that they have without remapping.
        transports: values of the parameters `image_transport` and `depth_transport`, if the node
            has them.
    """
    images = remapped['image'] + _suffix(IMAGES, transports, 'image', remapped)
    depth = remapped['depth'] + _suffix(DEPTH, transports, 'depth', remapped)
    inputs = [images, depth, *(remapped[topic] for topic in _INPUTS)]
    of_node = [remapped.get(topic, topic) for topic in _OF_THE_NODE]
    home = join('/', namespace)
    node = join(home, name)
    relative = [
        join(node, topic.removeprefix('~/')) if topic.startswith('~/') else join(home, topic)
        for topic in (*inputs, *of_node)
    ]
    return list(dict.fromkeys((*relative, *_OF_ALL_NODES)))


def _suffix(
    known: Mapping[str, Transport],
    transports: Mapping[str, str],
    argument: str,
    remapped: Mapping[str, str],
) -> str:
    """Return what the node appends to the name of a topic of images."""
    transport = known.get(transports.get(f'{argument}_transport', 'raw'))
    if transport is None or remapped[argument].endswith(transport.suffix):
        return ''
    return transport.suffix


def new_folder(wanted: str, namespace: str, time: str) -> Path:
    """Return a folder that does not exist yet; ros2 bag refuses one that does.

    Args:
        wanted: the folder that the user wants, or empty.
        namespace: namespace of the node, a subfolder.
        time: the time in a form that can be part of a name.

    Returns:
        The wanted folder. If it exists, a new folder in it, or beside it if it is a recording.
    """
    folder = Path(wanted or f'tam_ros_{time}').expanduser() / namespace.strip('/')
    if not os.path.lexists(folder):
        return folder
    if folder.is_dir() and not _is_recording(folder):
        return folder / f'tam_ros_{time}'
    return folder.with_name(f'{folder.name}_{time}')


def _is_recording(folder: Path) -> bool:
    return (folder / 'metadata.yaml').exists() or any(folder.glob('*.mcap'))


def command(folder: Path, recorded: list[str], use_sim_time: bool) -> list[str]:
    """Return the command that records topics into a folder."""
    return [
        *('ros2', 'bag', 'record', '--storage', 'mcap'),
        *('--storage-preset-profile', 'zstd_fast'),
        *(('--use-sim-time',) if use_sim_time else ()),
        *('--output', str(folder)),
        *BEFORE_RECORDED_TOPICS,
        *recorded,
    ]
