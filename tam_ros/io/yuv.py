# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""YUV images whose colour is stored apart from the brightness: nv12, nv21, i420 and others.

The planes follow each other, all of Y and then all colour, as V4L2 describes them:
https://docs.kernel.org/userspace-api/media/v4l/pixfmt-yuv-planar.html
`sensor_msgs/image_encodings.hpp` names only nv21 and nv24; drivers use the other V4L2 names in the
same way. Values are those of BT.601 in video range, as OpenCV reads them.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.io.image_data import ImageFormatError


class _Planes(NamedTuple):
    """How the colour of an encoding is stored.

    Attributes:
        across: columns that share one colour.
        down: rows that share one colour.
        together: whether U and V alternate in one plane; otherwise each has its own.
        v_first: whether V comes before U.
        code: OpenCV's conversion to RGB, if it has one.
    """

    across: int
    down: int
    together: bool
    v_first: bool
    code: int | None = None


_I420 = _Planes(2, 2, False, False, cv2.COLOR_YUV2RGB_I420)

_PLANES = {
    'nv12': _Planes(2, 2, True, False, cv2.COLOR_YUV2RGB_NV12),
    'nv21': _Planes(2, 2, True, True, cv2.COLOR_YUV2RGB_NV21),
    'i420': _I420,
    'yuv420': _I420,
    'yu12': _I420,
    'yv12': _Planes(2, 2, False, True, cv2.COLOR_YUV2RGB_YV12),
    'nv16': _Planes(2, 1, True, False),
    'nv61': _Planes(2, 1, True, True),
    'nv24': _Planes(1, 1, True, False),
    'nv42': _Planes(1, 1, True, True),
}

ENCODINGS = tuple(_PLANES)

# BT.601 in video range (ITU-R BT.601-7, 2.5): Y from 16 to 235, U and V from 16 to 240.
_FROM_YUV = np.array(
    [[1.164384, 0, 1.596027], [1.164384, -0.391762, -0.812968], [1.164384, 2.017232, 0]]
)
_TO_RGB = np.column_stack((_FROM_YUV, _FROM_YUV @ (-16, -128, -128)))


def planar_to_rgb(
    encoding: str, height: int, width: int, step: int, raw: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Decode an image to uint8 RGB.

    Args:
        encoding: one of `ENCODINGS`.
        height: rows of the image; or of all planes together, in the width of the image, as OpenCV
            stores these images and as some drivers copy it.
        width: columns.
        step: bytes from one row of Y to the next; or, if nothing is padded, the bytes of all
            planes divided by the rows.
        raw: uint8 [N].

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        ImageFormatError: the sizes do not fit together.
    """
    planes = _PLANES[encoding]
    # Bytes of all planes for each byte of Y.
    total = 1 + 2 / (planes.across * planes.down)
    if step >= width and raw.size == step * height * total:
        pass
    elif raw.size == step * height and raw.size == width * height * total:
        step = width
    elif step >= width and raw.size == step * height and height % (2 * total) == 0:
        height = round(height / total)
    else:
        raise ImageFormatError(
            f'{raw.size} bytes of data do not fit an {encoding} image of {width}x{height} pixels '
            f'with step {step}, which has {step * height * total:.0f} bytes'
        )
    if width % planes.across or height % planes.down:
        raise ImageFormatError(
            f'{encoding} stores one colour for {planes.across}x{planes.down} pixels, which '
            f'does not divide {width}x{height}'
        )
    luma = raw[: step * height].reshape(height, step)[:, :width]
    colour = raw[step * height :]
    rows, columns = height // planes.down, width // planes.across
    if planes.together:
        padded = colour.reshape(rows, -1)[:, : 2 * columns]
    else:
        padded = colour.reshape(2, rows, -1)[:, :, :columns]
    if planes.code is not None:
        stacked = np.concatenate((luma.reshape(-1), padded.reshape(-1)))
        return np.asarray(cv2.cvtColor(stacked.reshape(-1, width), planes.code), np.uint8)
    pairs = padded.reshape(rows, columns, 2)
    if planes.v_first:
        pairs = pairs[:, :, ::-1]
    full = pairs.repeat(planes.across, 1)
    return np.asarray(cv2.transform(np.dstack((luma, full)), _TO_RGB), np.uint8)
