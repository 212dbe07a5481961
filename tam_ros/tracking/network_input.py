# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which images can be tracked, and the network input made from one."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 16384  # pixels; no camera has larger images


class FrameError(ValueError):
    """An image or a stamp that cannot be tracked; the message says why."""


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise FrameError unless an image is uint8 RGB [H, W, 3] with sides of 1..`MAX_SIDE`."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, 'dtype', type(image).__name__)
        raise FrameError(f'the image is {kind}; uint8 RGB [height, width, 3] is needed')
    if image.ndim != 3 or image.shape[2] != 3:
        raise FrameError(f'the image has shape {image.shape}; RGB [height, width, 3] is needed')
    if not (0 < image.shape[0] <= MAX_SIDE and 0 < image.shape[1] <= MAX_SIDE):
        raise FrameError(
            f'the image is {image.shape[1]}x{image.shape[0]} pixels; each side must '
            f'be in 1..{MAX_SIDE}'
        )


def resize_to_network(image: NDArray[np.uint8], size: int, resize: str) -> NDArray[np.uint8]:
    """Resize an RGB image [H, W, 3] to [size, size, 3]; the aspect ratio is not preserved.

    Args:
        image: uint8.
        size: side of the network input, pixels.
        resize: the filter, see `TrackerOptions.resize`.
    """
    image = np.ascontiguousarray(image)
    if image.shape[:2] == (size, size):
        return image
    if resize == 'pil':
        from PIL import Image

        return np.asarray(Image.fromarray(image).resize((size, size)))
    shrinks = image.shape[0] > size and image.shape[1] > size
    resized = cv2.resize(
        image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return np.asarray(resized, np.uint8)
