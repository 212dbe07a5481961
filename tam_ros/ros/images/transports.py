# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How images are sent: the types of image topics and the suffixes of their names, without ROS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tam_ros.interfaces import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE


@dataclass(frozen=True)
class Transport:
    """One way in which image_transport and its plugins send images.

    Attributes:
        name: as image_transport calls it.
        type: type of the messages.
        suffix: what is appended to the name of the raw topic.
        content: what the messages contain, for the user.
    """

    name: str
    type: str
    suffix: str
    content: str


RAW = Transport('raw', IMAGE_TYPE, '', 'uncompressed images')
COMPRESSED = Transport('compressed', COMPRESSED_IMAGE_TYPE, '/compressed', 'JPEG or PNG images')
COMPRESSED_DEPTH = Transport(
    'compressedDepth', COMPRESSED_IMAGE_TYPE, '/compressedDepth', 'compressed depth'
)

# The first transport of a type is that of topics whose name has no suffix of the others.
KNOWN = (
    RAW,
    COMPRESSED,
    COMPRESSED_DEPTH,
    Transport(
        'ffmpeg', 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket', '/ffmpeg', 'video packets'
    ),
    Transport('foxglove', 'foxglove_msgs/msg/CompressedVideo', '/foxglove', 'video packets'),
    Transport('theora', 'theora_image_transport/msg/Packet', '/theora', 'video packets'),
    Transport('zstd', COMPRESSED_IMAGE_TYPE, '/zstd', 'images packed with zstd'),
)
"""Transports that are recognised, whether or not the node reads them."""

IMAGES = {one.name: one for one in (RAW, COMPRESSED)}
"""The transports of `image` that the node reads: the values of the parameter `image_transport`."""

DEPTH = {one.name: one for one in (RAW, COMPRESSED, COMPRESSED_DEPTH)}
"""The same for `depth` and `depth_transport`."""


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
