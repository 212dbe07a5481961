# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""JPEG, PNG and other image files as arrays, from messages and from disk."""

from __future__ import annotations

import io
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.io.image_data import MAX_PIXELS, ImageFormatError, check_size
from tam_ros.io.image_header import is_jpeg_or_png, picture_size
from tam_ros.io.sample_range import SampleRange

# The depth of the file and its channels as they are. An EXIF orientation is applied.
_AS_STORED = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR

# Encodings of measurements, at the start of the `format` that compressed_image_transport writes.
_MEASUREMENTS = re.compile(r'\s*(16U|16S|32S|32F|64F)C')

_JPEG_START, _JPEG_SCAN, _JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
# Bytes without order and without 0xff, which begins a marker.
_OTHER_DATA = bytes((17 + index) ** 3 % 251 for index in range(400))


def is_depth_format(image_format: str) -> bool:
    """Return whether the `format` of a `CompressedImage` is that of depth, not of a picture.

    Args:
        image_format: such as `16UC1; compressedDepth png` or `16UC1; png compressed `.
    """
    return 'compressedDepth' in image_format or _MEASUREMENTS.match(image_format) is not None


def decode_picture(
    raw: NDArray[np.uint8],
    image_format: str = '',
    levels: SampleRange | None = None,
    any_format: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Decode an image file to uint8 RGB [H, W, 3].

    Args:
        raw: uint8 [N], the content of the file. Its format is detected, since many drivers set
            `CompressedImage.format` wrongly.
        image_format: `CompressedImage.format` or the suffix of the file, for messages, and to
            refuse depth.
        levels: the range of values of the stream, for files of more than eight bits.
        any_format: see `decode_file`.
        max_pixels: see `decode_file`.

    Raises:
        ImageFormatError: see `decode_file`; or it is depth.
    """
    if is_depth_format(image_format):
        raise ImageFormatError(
            f'format {image_format!r} is for depth, not colour: choose the colour topic'
        )
    pixels = decode_file(raw, image_format, any_format, max_pixels)
    if pixels.dtype != np.uint8:
        levels = SampleRange() if levels is None else levels
        pixels = levels.to_8_bits(pixels, spread=pixels.ndim == 2)
    code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def decode_file(
    raw: NDArray[np.uint8],
    image_format: str,
    any_format: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[Any]:
    """Decode an image file to the values it has, grey [H, W] or BGR [H, W, 3].

    Args:
        raw: uint8 [N], the content of the file.
        image_format: for messages.
        any_format: whether formats other than JPEG and PNG are read, as files on disk have. From a
            message they are not: fewer decoders are open to whoever can publish.
        max_pixels: most pixels of the image, in its header.

    Raises:
        ImageFormatError: the data is empty, cut short or cannot be decoded, or its header
            announces too many pixels.
    """
    if raw.size == 0:
        raise ImageFormatError(f'compressed image ({image_format!r}) has no data')
    if not (is_jpeg_or_png(raw) or any_format):
        raise ImageFormatError(
            f'compressed image ({image_format!r}, {raw.size} bytes) is not in a known image '
            'format: send JPEG or PNG'
        )
    size = picture_size(raw)
    if size is None and raw[:2].tobytes() == _JPEG_START:
        raise ImageFormatError(f'JPEG image is truncated: {raw.size} bytes without a header')
    if size is None:
        raise ImageFormatError(
            f'compressed image ({image_format!r}, {raw.size} bytes) is not in a known image '
            'format, or its header is truncated'
        )
    check_size(*size, max_pixels)
    if raw[:2].tobytes() == _JPEG_START:
        data = raw.tobytes()
        # The end marker must follow the last start of scan; an embedded thumbnail has its own end
        # marker before it.
        if data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN) or _JPEG_SCAN not in data:
            raw = np.frombuffer(_with_end(data), np.uint8)
    return _imdecode(raw, image_format)


def _with_end(data: bytes) -> bytes:
    """Return a JPEG whose end marker is missing, as some cameras send it, with one.

    OpenCV fills the missing part of a JPEG that is cut short and only warns. But then the picture
    depends on what follows the data, whereas nothing that follows a complete picture is read.

    Raises:
        ImageFormatError: the picture is not complete.
    """
    # The buffer of a camera may be longer than its picture, and a marker may be cut in half. A
    # byte 0xff of the picture is followed by 0.
    coded = data.rstrip(b'\0')
    coded += data[len(coded) : len(coded) + 1]
    coded = coded.rstrip(b'\xff')
    try:
        picture = _decode_silently(coded + _JPEG_END)
        is_complete = np.array_equal(picture, _decode_silently(coded + _OTHER_DATA + _JPEG_END))
    except (OSError, SyntaxError):  # of PIL, for a damaged header
        is_complete = False
    if not is_complete:
        raise ImageFormatError(f'JPEG image is truncated: {len(data)} bytes without an end marker')
    return coded + _JPEG_END


def _decode_silently(jpeg: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG with PIL: OpenCV prints a warning about data after the picture."""
    from PIL import Image  # takes a while, and most cameras send the marker

    with Image.open(io.BytesIO(jpeg), formats=('JPEG',)) as image:
        return np.asarray(image)


def _imdecode(raw: NDArray[np.uint8], image_format: str) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(raw, _AS_STORED)
    except cv2.error as error:
        raise ImageFormatError(
            f'compressed image ({image_format!r}) cannot be decoded: {error.err}'
        ) from error
    if pixels is None:
        raise ImageFormatError(
            f'compressed image ({image_format!r}, {raw.size} bytes) is not in a known image format'
        )
    return pixels
