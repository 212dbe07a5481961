# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Depth images from `sensor_msgs/Image` and from compressed messages."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.io.compressed_images import decode_file, is_depth_format
from tam_ros.io.encodings import single_channel
from tam_ros.io.image_data import MAX_PIXELS, ImageFormatError, as_bytes, check_size
from tam_ros.io.rvl import decode_rvl

Depth = NDArray[np.uint16] | NDArray[np.float32]

_TYPES: dict[str, type] = {'16UC1': np.uint16, 'mono16': np.uint16, '32FC1': np.float32}
_WANTED = '16UC1 (millimetres) or 32FC1 (metres)'

# What compressed_depth_image_transport writes before the data: a format number, and the two
# parameters of the quantisation of 32FC1.
_HEADER = struct.Struct('<iff')
_RVL_SIZE = struct.Struct('<ii')  # columns, rows
_PNG_START = b'\x89PNG'


def message_to_depth(message: Any, max_pixels: int = MAX_PIXELS) -> Depth:
    """Return a depth image (REP 118) [H, W]: uint16 millimetres or float32 metres.

    Without row padding, and in the byte order of this machine, that of an `Image` is a view of the
    message's data.

    Args:
        message: a `sensor_msgs/Image`, or a `sensor_msgs/CompressedImage` with the format of
            compressed_depth_image_transport, or with a PNG of 16 bits.
        max_pixels: most pixels of an image.

    Raises:
        ImageFormatError: not a depth image, or its fields are inconsistent.
    """
    if hasattr(message, 'format'):
        return _decompress(message.format, as_bytes(message.data), max_pixels)
    dtype = _TYPES.get(message.encoding)
    if dtype is None:
        raise ImageFormatError(
            f'depth cannot have the encoding {message.encoding!r}; send {_WANTED}'
        )
    return single_channel(message, dtype, 'depth', max_pixels).astype(dtype, copy=False)


def _decompress(image_format: str, raw: NDArray[np.uint8], max_pixels: int) -> Depth:
    """Decode the fields of a `CompressedImage`, see `message_to_depth`.

    Args:
        image_format: such as `16UC1; compressedDepth png`, `32FC1; compressedDepth rvl`,
            `16UC1; compressedDepth` (from older senders) or `16UC1; png compressed `.
        raw: uint8 [N].
        max_pixels: most pixels of an image.
    """
    has_header = raw[_HEADER.size :][: len(_PNG_START)].tobytes() == _PNG_START
    if has_header or 'compressedDepth' in image_format:
        return _decompress_depth(image_format, raw, max_pixels)
    pixels = decode_file(raw, image_format, max_pixels=max_pixels)
    if pixels.dtype == np.uint16 and pixels.ndim == 2:
        return pixels
    if is_depth_format(image_format):
        raise ImageFormatError(
            f'{image_format!r}: a JPEG cannot hold depth, its {pixels.dtype} values are not '
            'distances: use the transport compressedDepth'
        )
    raise ImageFormatError(
        f'depth cannot have the format {image_format!r}: use the transport compressedDepth'
    )


def _decompress_depth(image_format: str, raw: NDArray[np.uint8], max_pixels: int) -> Depth:
    """Decode a message of compressed_depth_image_transport."""
    data = raw.tobytes()
    if len(data) <= _HEADER.size:
        raise ImageFormatError(f'compressed depth ({image_format!r}) has no data')
    _, a, b = _HEADER.unpack_from(data)
    if data.startswith(_PNG_START):  # written without the header
        values = decode_file(raw, image_format, max_pixels=max_pixels)
    elif data.startswith(_PNG_START, _HEADER.size):
        values = decode_file(raw[_HEADER.size :], image_format, max_pixels=max_pixels)
    else:
        values = _decompress_rvl(image_format, raw[_HEADER.size :], max_pixels)
    if values.dtype != np.uint16 or values.ndim != 2:
        raise ImageFormatError(
            f'compressed depth ({image_format!r}) has {values.dtype} values, not 16 bits per pixel'
        )
    if not image_format.lstrip().startswith('32FC1'):
        return values
    # The values are reciprocals: a distance of z metres is a / z + b, and 0 nothing measured.
    with np.errstate(divide='ignore', invalid='ignore'):
        metres: NDArray[np.float32] = np.float32(a) / (values.astype(np.float32) - np.float32(b))
    metres[values == 0] = np.nan
    return metres


def _decompress_rvl(
    image_format: str, raw: NDArray[np.uint8], max_pixels: int
) -> NDArray[np.uint16]:
    if raw.size < _RVL_SIZE.size:
        raise ImageFormatError(f'compressed depth ({image_format!r}) is cut short')
    columns, rows = _RVL_SIZE.unpack_from(raw.tobytes())
    check_size(rows, columns, max_pixels)
    return decode_rvl(raw[_RVL_SIZE.size :], rows * columns).reshape(rows, columns)
