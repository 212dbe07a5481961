# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One image of a camera with its result, as the messages that browsers get."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.io.encodings import image_to_labels
from tam_ros.io.image_data import as_bytes
from tam_ros.io.image_decoder import ImageDecoder
from tam_ros.page.protocol import pack_frame

_JPEG_START = b'\xff\xd8'
_PNG_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class Frame:
    """An image and its result. What browsers get is made once, when the first one asks for it.

    Attributes:
        number: grows from frame to frame, over all cameras.
        stamp_ns: stamp of the image, nanoseconds.
    """

    def __init__(
        self,
        number: int,
        camera: str,
        stamp_ns: int,
        image: Any,
        labels: Any | None,
        objects: Sequence[Mapping[str, Any]],
        decoder: ImageDecoder,
        quality: int,
        max_side: int,
    ) -> None:
        """Take the messages; nothing is converted yet.

        Args:
            number: see the attributes.
            camera: name of the tracking node.
            stamp_ns: see the attributes.
            image: `sensor_msgs/Image` or `CompressedImage`.
            labels: `sensor_msgs/Image` with the label image; None: the image was not tracked.
            objects: the objects, ready for JSON.
            decoder: that of the camera.
            quality: of the JPEG, 1 to 100.
            max_side: longest side of the picture, pixels; larger ones are reduced. A JPEG of the
                camera is not changed.
        """
        self.number = number
        self.stamp_ns = stamp_ns
        self._image, self._labels = image, labels
        self._decoder, self._quality, self._max_side = decoder, quality, max_side
        self._lock = threading.Lock()
        self._message: bytes | None = None
        self._header = {
            'frame': number,
            'camera': camera,
            'stamp': str(stamp_ns),
            'tracked': labels is not None,
            'objects': list(objects),
        }

    def message(self) -> bytes:
        """Return the binary message with picture and label image; from any thread.

        Raises:
            ImageFormatError: the image cannot be read.
        """
        with self._lock:
            if self._message is None:
                self._message = self._pack()
                self._image = self._labels = None
            return self._message

    def message_without_pictures(self) -> bytes:
        """Return the binary message with the objects only."""
        return pack_frame(self._header, b'', b'')

    def _pack(self) -> bytes:
        picture, size = self._picture()
        labels, wide = b'', False
        if self._labels is not None:
            pixels = image_to_labels(self._labels)
            size = pixels.shape[0], pixels.shape[1]
            labels, wide = labels_png(reduced(pixels, self._max_side, cv2.INTER_NEAREST))
        # The size in pixels of prompts; 0: that of the picture.
        height, width = size or (0, 0)
        header = {**self._header, 'width': width, 'height': height, 'wide': wide}
        return pack_frame(header, picture, labels)

    def _picture(self) -> tuple[bytes, tuple[int, int] | None]:
        """Return the file, and rows and columns of the image if they are known."""
        if hasattr(self._image, 'format'):
            data = as_bytes(self._image.data).tobytes()
            if data.startswith(_JPEG_START):
                return data, None
        rgb = self._decoder.message(self._image)
        small = reduced(rgb, self._max_side, cv2.INTER_AREA)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, self._quality))
        return jpeg.tobytes(), (rgb.shape[0], rgb.shape[1])


def labels_png(labels: NDArray[np.unsignedinteger[Any]]) -> tuple[bytes, bool]:
    """Return a label image [H, W] as PNG, and whether its ids need two bytes.

    Browsers decode 16 bits to 8, so such a PNG is one in colour: red is the low byte, green the
    high one.
    """
    wide = labels.dtype != np.uint8
    if wide:
        low, high = (labels & 255).astype(np.uint8), (labels >> 8).astype(np.uint8)
        labels = np.dstack([np.zeros_like(low), high, low])  # as OpenCV writes it: B, G, R
    _, png = cv2.imencode('.png', labels, _PNG_FAST)
    return png.tobytes(), bool(wide)


def reduced(pixels: NDArray[Any], max_side: int, interpolation: int) -> NDArray[Any]:
    """Return an image [H, W, ...] whose longer side has at most so many pixels."""
    height, width = pixels.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return pixels
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small: NDArray[Any] = cv2.resize(pixels, size, interpolation=interpolation)
    return small
