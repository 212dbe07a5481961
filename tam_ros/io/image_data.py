# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bytes of image messages, and the error about those that cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.reading import InputError

MAX_SIDE = 16384
"""Longest accepted image side in pixels; a larger value means a corrupt message."""

MAX_PIXELS = 40_000_000
"""Most pixels of an accepted picture, mask or depth image, if nothing else is set.

A compressed message of some kilobytes can announce gigabytes, so its header is read first."""


class ImageFormatError(InputError, ValueError):
    """An image message is malformed, or its encoding is not for this purpose."""


def check_size(height: int, width: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageFormatError unless an image may have this size."""
    if height < 1 or width < 1:
        raise ImageFormatError(f'image of {width}x{height} pixels is empty')
    if height > MAX_SIDE or width > MAX_SIDE:
        raise ImageFormatError(
            f'image has {width}x{height} pixels, the limit is {MAX_SIDE} per side'
        )
    if height * width > max_pixels:
        raise ImageFormatError(
            f'image of {width}x{height} pixels is too large: the limit is {max_pixels} pixels'
        )


def as_bytes(data: Any) -> NDArray[np.uint8]:
    """View any buffer as flat uint8 without copying; lists of integers are copied.

    In ROS 2 Lyrical, data may be a `rosidl_buffer.Buffer`, whose memory can be that of a device.
    It is copied to the host.

    Raises:
        ImageFormatError: it is not bytes.
    """
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, BufferError, ValueError):
        pass
    if (backend := getattr(data, 'backend_type', None)) is not None:
        try:
            return np.frombuffer(data.to_bytes(), np.uint8)
        except Exception as error:  # whatever the library of the backend raises
            raise ImageFormatError(
                f'image data is in memory of the backend {backend!r} and cannot be copied to the '
                f'host: {error}'
            ) from error
    try:
        array = np.asarray(data)
        if array.size == 0:
            return np.zeros(0, np.uint8)
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > 255:
            raise ImageFormatError(f'image data must be bytes, not {array.dtype} values')
        return np.ascontiguousarray(array, np.uint8).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ImageFormatError(f'image data must be bytes, not {type(data).__name__}') from error
