# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How images are sent: the types of image topics and the suffixes of their names, without ROS."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from tam_ros.interfaces import COMPRESSED_IMAGE_TYPE, FFMPEG_TYPE, FOXGLOVE_TYPE, IMAGE_TYPE


@dataclass(frozen=True)
class Transport:
    """One way in which image_transport and its plugins send images.

    Attributes:
        name: as image_transport calls it.
        type: type of the messages.
        suffix: what is appended to the name of the raw topic.
        content: what the messages contain, for the user.
        is_video: whether a picture depends on the messages before it.
    """

    name: str
    type: str
    suffix: str
    content: str
    is_video: bool = False


RAW = Transport('raw', IMAGE_TYPE, '', 'uncompressed images')
COMPRESSED = Transport('compressed', COMPRESSED_IMAGE_TYPE, '/compressed', 'JPEG or PNG images')
COMPRESSED_DEPTH = Transport(
    'compressedDepth', COMPRESSED_IMAGE_TYPE, '/compressedDepth', 'compressed depth'
)
FFMPEG = Transport('ffmpeg', FFMPEG_TYPE, '/ffmpeg', 'video packets', is_video=True)
FOXGLOVE = Transport('foxglove', FOXGLOVE_TYPE, '/foxglove', 'video packets', is_video=True)

# The first transport of a type is that of topics whose name has no suffix of the others.
KNOWN = (
    RAW,
    COMPRESSED,
    COMPRESSED_DEPTH,
    FFMPEG,
    FOXGLOVE,
    Transport('theora', 'theora_image_transport/msg/Packet', '/theora', 'video packets'),
    Transport('zstd', COMPRESSED_IMAGE_TYPE, '/zstd', 'images packed with zstd'),
)
"""Transports that are recognised, whether or not the node reads them."""

IMAGES = {one.name: one for one in (RAW, COMPRESSED, FFMPEG, FOXGLOVE)}
"""The transports of `image` that the node reads: the values of the parameter `image_transport`."""

DEPTH = {one.name: one for one in (RAW, COMPRESSED, COMPRESSED_DEPTH)}
"""The same for `depth` and `depth_transport`."""


def what_is_missing(transport: Transport) -> str | None:
    """Return what has to be installed to read a transport, or None."""
    if not transport.is_video:
        return None
    package = transport.type.partition('/')[0]
    if importlib.util.find_spec(package) is None:
        debian = f'ros-$ROS_DISTRO-{package.replace("_", "-")}'
        return f'{transport.name} needs {package}, which is not installed here ({debian})'
    if importlib.util.find_spec('av') is None:
        return f'{transport.name} needs PyAV: python3 -m pip install av'
    return None


def transport_of(topic: str, message_type: str) -> Transport | None:
    """Return the transport of a topic, or None if it does not carry images."""
    same_type = [one for one in KNOWN if one.type == message_type]
    return _named(topic, same_type) or (same_type[0] if same_type else None)


def carries(topic: str, message_type: str, transport: Transport) -> bool:
    """Return whether a topic carries a transport: its type fits, and its name does not differ."""
    if message_type != transport.type:
        return False
    same_type = [one for one in KNOWN if one.type == message_type]
    return _named(topic, same_type) in (None, transport)


def _named(topic: str, transports: Iterable[Transport]) -> Transport | None:
    """Return the transport whose suffix a topic has."""
    return next((one for one in transports if one.suffix and topic.endswith(one.suffix)), None)
