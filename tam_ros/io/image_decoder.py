# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The pictures of one stream, from messages or files, as RGB arrays."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tam_ros.io.compressed_images import decode_picture
from tam_ros.io.encodings import decode, is_picture
from tam_ros.io.image_data import MAX_PIXELS, as_bytes, check_size
from tam_ros.io.sample_range import SampleRange
from tam_ros.regular_file import read_regular

MAX_FILE_BYTES = 1 << 29
"""Largest image file that is read."""


class ImageDecoder:
    """Decodes the images of one stream, which share the range of their values.

    A live camera, a topic of a bag or a folder of image files is a stream: an object that has the
    same brightness in two of its images has it in the arrays as well, also with 16-bit images.
    """

    def __init__(
        self, report: Callable[[str], None] | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Start a stream.

        Args:
            report: called with a sentence for the user about the range of its values, once; None:
                a warning of the module `sample_range`.
            max_pixels: most pixels of an image.
        """
        self._max_pixels = max_pixels
        self._levels = SampleRange() if report is None else SampleRange(report)

    def message(self, message: Any) -> np.ndarray:
        """Decode an image message to uint8 RGB [H, W, 3].

        Encodings that `tam_ros.io.encodings` does not know are passed to cv_bridge if it is
        installed.

        Args:
            message: a `sensor_msgs/Image` or `sensor_msgs/CompressedImage` of rclpy or rosbags.

        Returns:
            uint8 RGB [H, W, 3]. For unpadded `rgb8` this is a view of the message's data.

        Raises:
            ImageFormatError: see `decode` and `decode_picture`.
        """
        if hasattr(message, 'format'):
            return self.compressed(message.format, message.data)
        if not is_picture(message.encoding) and (bridge := _cv_bridge()) is not None:
            check_size(message.height, message.width, self._max_pixels)
            # CvBridgeError is a TypeError.
            with contextlib.suppress(ValueError, TypeError):
                rgb: np.ndarray = bridge.imgmsg_to_cv2(message, 'rgb8')
                return rgb
        return decode(
            message.encoding,
            message.height,
            message.width,
            message.step,
            message.data,
            bool(message.is_bigendian),
            self._levels,
            self._max_pixels,
        )

    def compressed(self, image_format: str, data: Any) -> np.ndarray:
        """Decode the fields of a `sensor_msgs/CompressedImage` to uint8 RGB [H, W, 3].

        Raises:
            ImageFormatError: see `decode_picture`.
        """
        return decode_picture(
            as_bytes(data), image_format, self._levels, max_pixels=self._max_pixels
        )

    def file(self, path: Path) -> np.ndarray:
        """Decode an image file to uint8 RGB [H, W, 3].

        Raises:
            ImageFormatError: see `decode_picture`.
            OSError: the file cannot be read, is not a regular file, or is too large.
        """
        raw = as_bytes(read_regular(path, MAX_FILE_BYTES))
        return decode_picture(raw, path.suffix[1:], self._levels, True, self._max_pixels)


@functools.cache
def _cv_bridge() -> Any | None:
    """Return cv_bridge's converter; None where cv_bridge is not installed."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return None
    return CvBridge()
