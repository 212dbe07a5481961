# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Messages that our writer does not write, and the contents of bags, for tests."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader

from tam_ros.interfaces import IMAGE_TYPE as IMAGE
from tam_ros.io.bag_writer import message_types
from tam_ros.io.frames import Header

_types = lru_cache(message_types)


def serialized_image(header: Header, rgb: np.ndarray, missing: int = 0) -> bytes:
    """Return an rgb8 image message in CDR form whose data lacks its last `missing` bytes."""
    store = _types()
    seconds, nanoseconds = divmod(header.stamp_ns, 10**9)
    stamp = store.types['builtin_interfaces/msg/Time'](seconds, nanoseconds)
    height, width = rgb.shape[:2]
    message = store.types[IMAGE](
        header=store.types['std_msgs/msg/Header'](stamp, header.frame_id),
        height=height,
        width=width,
        encoding='rgb8',
        is_bigendian=0,
        step=3 * width,
        data=rgb.reshape(-1)[: rgb.size - missing],
    )
    return bytes(store.serialize_cdr(message, IMAGE))


def read_bag(path: Path) -> dict[str, list]:
    """Return every message of a bag by topic, definitions taken from the bag alone."""
    messages: dict[str, list] = {}
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append(message)
    return messages


def stamps(messages: list) -> list[int]:
    """Return the stamps of messages, nanoseconds."""
    return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in messages]
