# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Converts stamps, and arrays to new messages; see `tam_ros.io.encodings` for images."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from tam_ros.io.encodings import fill_image
from tam_ros.msg import TrackedObject

NANOSECONDS = 1_000_000_000


def stamp_ns(header: Header) -> int:
    """Return the stamp of a header in nanoseconds."""
    return header.stamp.sec * NANOSECONDS + header.stamp.nanosec


def array_to_image(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """Return an array as an image message; see `tam_ros.io.encodings.fill_image`."""
    message = Image(header=header)
    fill_image(message, pixels, encoding)
    return message


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> array.array:
    """Return a one-channel image [H, W] as the bytes of a PNG file, for a message."""
    _, data = cv2.imencode('.png', pixels)
    return array.array('B', data.tobytes())


def decode_mask(entry: TrackedObject, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask of an object as bool [height, width], the size of the whole image.

    Raises:
        ValueError: the object has visible pixels, but the message has no mask.
    """
    mask = np.zeros((height, width), bool)
    if entry.box.width == 0:
        return mask
    if not len(entry.mask_png):
        raise ValueError('the message has no mask: set the parameter publish_masks')
    crop = cv2.imdecode(np.frombuffer(entry.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
    x, y = entry.box.x_offset, entry.box.y_offset
    mask[y : y + entry.box.height, x : x + entry.box.width] = crop != 0
    return mask
