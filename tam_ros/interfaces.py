# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Names and values of the ROS interfaces that are used with and without ROS.

The node publishes with them, bags are written and read with them. This file imports nothing.
"""

from __future__ import annotations

NODE_NAME = 'track_node'

# Topics of the node relative to its name, as `create_publisher` takes them.
LABELS = '~/labels'
LABELS_PNG = '~/labels/compressed'  # the suffix of image_transport
OBJECTS = '~/objects'


def default_topic(relative: str) -> str:
    """Return the full name of a topic of a node that was not renamed: `/track_node/labels`."""
    return relative.replace('~', f'/{NODE_NAME}', 1)


LABELS_TOPIC = default_topic(LABELS)
LABELS_PNG_TOPIC = default_topic(LABELS_PNG)
OBJECTS_TOPIC = default_topic(OBJECTS)
IMAGE_TOPIC = '/image'
"""Topic of the images, unless it is remapped. Bags of recordings that have no topics use it."""

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE_TYPE = 'sensor_msgs/msg/CompressedImage'
FFMPEG_TYPE = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
FOXGLOVE_TYPE = 'foxglove_msgs/msg/CompressedVideo'
OBJECT_TYPE = 'tam_ros/msg/TrackedObject'
OBJECTS_TYPE = 'tam_ros/msg/TrackedObjectArray'

STATE_NUMBERS = {'visible': 1, 'occluded': 2, 'lost': 3}
"""`TrackedObject.state` of each `ObjectState`; the constants of msg/TrackedObject.msg."""
STATE_NAMES = {number: name for name, number in STATE_NUMBERS.items()}

MAX_POINTS = 256
"""Most points of a `Prompt`: the bound in msg/Prompt.msg. A model takes fewer."""


def labels_encoding(highest_id: int) -> str:
    """Return the encoding of a label image: the smallest that holds its highest id.

    `mono8` up to 255, `16UC1` up to 65535; 0 is the background.
    """
    return 'mono8' if highest_id <= 255 else '16UC1'


def png_format(encoding: str) -> str:
    """Return `CompressedImage.format` of a one-channel image as PNG.

    As compressed_image_transport writes it: a colour order would follow the last space.
    """
    return f'{encoding}; png compressed '
