# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""ROS images to arrays and back, without cv_bridge and without a copy that is not needed."""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from tam_ros.io.encodings import (
    SUPPORTED_ENCODINGS,
    ImageFormatError,
    decode_compressed,
    decode_message,
)

try:
    from cv_bridge import CvBridge, CvBridgeError
except ImportError:  # not on every machine; the common encodings do not need it
    CvBridge = None

NANOSECONDS = 1_000_000_000

_LABEL_TYPES = {
    'mono8': np.uint8,
    '8UC1': np.uint8,
    'mono16': np.uint16,
    '16UC1': np.uint16,
    '32SC1': np.int32,
}
_DEPTH_TYPES = {'16UC1': np.uint16, 'mono16': np.uint16, '32FC1': np.float32}
_IMAGE_TYPES = {
    'rgb8': (np.uint8, 3),
    'mono8': (np.uint8, 1),
    '16UC1': (np.uint16, 1),
}


def stamp_ns(header: Header) -> int:
    """Return a header's stamp in nanoseconds."""
    return header.stamp.sec * NANOSECONDS + header.stamp.nanosec


def image_to_rgb(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Return the picture of an image message as uint8 RGB [H, W, 3].

    For `rgb8` without row padding this is a view of the message's own data.

    Raises:
        ImageFormatError: an encoding that cannot be read, fields that contradict each other, an
            empty or enormous size, data that no decoder understands.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.format, message.data)
    if CvBridge is not None and message.encoding not in SUPPORTED_ENCODINGS:
        try:
            return CvBridge().imgmsg_to_cv2(message, 'rgb8')
        except (CvBridgeError, ValueError, TypeError):
            pass  # the error of decode() names the encodings that can be used
    return decode_message(message)


def image_to_labels(message: Image) -> NDArray[Any]:
    """Return a one-channel image message as whole numbers [H, W].

    Raises:
        ImageFormatError: another kind of image, or fields that contradict each other.
    """
    dtype = _LABEL_TYPES.get(message.encoding)
    if dtype is None:
        raise ImageFormatError(
            f'a mask cannot be {message.encoding!r}; send {", ".join(_LABEL_TYPES)}'
        )
    return _plane(message, dtype, 'mask')


def image_to_mask(message: Image) -> NDArray[np.bool_]:
    """Return a mask message as bool [H, W], true where a pixel is not 0.

    Raises:
        ImageFormatError: not a one-channel image, or fields that contradict each other.
    """
    return image_to_labels(message) != 0


def image_to_depth(message: Image) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Return a depth image of REP 118 as it is, [H, W]: uint16 millimetres or float32 metres.

    Without row padding this is a view of the message's own data.

    Raises:
        ImageFormatError: not a depth image, or fields that contradict each other.
    """
    dtype = _DEPTH_TYPES.get(message.encoding)
    if dtype is None:
        raise ImageFormatError(
            f'depth cannot be {message.encoding!r}; send 16UC1 (millimetres) or 32FC1 (metres)'
        )
    depth = _plane(message, dtype, 'depth')
    return depth.astype(dtype, copy=False)


def array_to_image(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """Return an array as an image message.

    Args:
        pixels: uint8 [H, W, 3] for `rgb8`, uint8 [H, W] for `mono8`, uint16 [H, W] for `16UC1`.
        encoding: one of these names.
        header: taken over as it is.

    Raises:
        ValueError: shape or type do not fit the encoding.
    """
    dtype, channels = _IMAGE_TYPES[encoding]
    expected = pixels.shape[:2] if channels == 1 else (*pixels.shape[:2], channels)
    if pixels.dtype != dtype or pixels.shape != expected:
        raise ValueError(f'{pixels.dtype} {pixels.shape} is not a {encoding} image')
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.strides[0]
    message.is_bigendian = int(sys.byteorder == 'big')
    # rclpy checks every element of anything but an array.array: 0.4 ms become 0.3 s at 1280x720.
    data = array.array('B')
    data.frombytes(memoryview(pixels).cast('B'))
    message.data = data
    return message


def _plane(message: Image, dtype: type, what: str) -> NDArray[Any]:
    """Return the only channel [H, W] of an image message, in the message's byte order."""
    dtype = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * dtype.itemsize
    if message.step < row or message.step * message.height != len(message.data):
        raise ImageFormatError(
            f'{what} of {message.width}x{message.height} {message.encoding} pixels with step '
            f'{message.step} and {len(message.data)} bytes contradicts itself'
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return np.ascontiguousarray(rows[:, :row]).view(dtype)
