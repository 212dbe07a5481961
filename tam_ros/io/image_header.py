# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The size that the header of an image file announces, read without decoding the picture."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray

from tam_ros.io.image_data import ImageFormatError

_JPEG_START = b'\xff\xd8'
_PNG_START = b'\x89PNG\r\n\x1a\n'
_PNG_SIZE = struct.Struct('>II')  # columns, rows: the first fields of IHDR, the first chunk
_PNG_SIZE_AT = 16

# ITU-T T.81, table B.1. Start of frame: C0 to CF, except those for tables and extensions.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_SCAN, _END = 0xDA, 0xD9
_FRAME_SIZE = struct.Struct('>HH')  # rows, columns


def is_jpeg_or_png(raw: NDArray[np.uint8]) -> bool:
    """Return whether a file, uint8 [N], begins as these formats do."""
    start = raw[: len(_PNG_START)].tobytes()
    return start == _PNG_START or start.startswith(_JPEG_START)


def picture_size(raw: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Return the rows and columns of an image file, which is recognised by its content.

    Args:
        raw: uint8 [N], the content of the file.

    Returns:
        (rows, columns), before an EXIF orientation is applied; None: there is no readable header.

    Raises:
        ImageFormatError: the image is so large that Pillow does not open it.
    """
    data = memoryview(raw.tobytes())
    if data[:8] == _PNG_START:
        if len(data) < _PNG_SIZE_AT + _PNG_SIZE.size:
            return None
        columns, rows = _PNG_SIZE.unpack_from(data, _PNG_SIZE_AT)
        return rows, columns
    if data[:2] == _JPEG_START:
        return _jpeg_size(data)
    return _other_size(data)


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Return the size in the first frame header; as libjpeg, skip what is between markers."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1
            continue
        marker = data[at + 1]
        if marker in _FRAMES:
            if at + 5 + _FRAME_SIZE.size > len(data):
                return None
            rows, columns = _FRAME_SIZE.unpack_from(data, at + 5)
            return rows, columns
        if marker in (_SCAN, _END):
            return None
        at += 2
        if marker not in _WITHOUT_LENGTH:
            at += int.from_bytes(data[at : at + 2], 'big')
    return None


def _other_size(data: memoryview) -> tuple[int, int] | None:
    from PIL import Image  # takes a while, and cameras send JPEG or PNG

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except Image.DecompressionBombError as error:
        raise ImageFormatError(f'image is too large: {error}') from error
    except Exception:  # a damaged file can cause many kinds of error; the decoder refuses it
        return None
