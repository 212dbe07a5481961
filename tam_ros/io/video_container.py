# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whether a video file is complete, from the sizes that its container states.

OpenCV reads a truncated file to its end without an error. The number of frames in the header does
not tell: it is an estimate in many containers, and in a trimmed MP4 it includes frames that are
not to be shown. So the lengths of the outermost parts are compared with that of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_MP4_TYPES = {b'ftyp', b'moov', b'mdat', b'free', b'skip', b'wide', b'styp', b'moof', b'pnot'}
_EBML_HEADER, _SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'


def is_truncated(path: Path) -> bool:
    """Return whether a file ends before its container does; False for other kinds of files.

    Known are MP4 and MOV (ISO/IEC 14496-12), AVI (RIFF), and Matroska and WebM (RFC 9559).
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in _MP4_TYPES:
            return _end_of_boxes(file, size) > size
        if head[:4] == b'RIFF':
            return _end_of_riff(file, size) > size
        if head[:4] == _EBML_HEADER:
            return _end_of_matroska(file) > size
    return False


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    end = 0
    while end + 8 <= size:
        file.seek(end)
        header = file.read(16)
        length = int.from_bytes(header[:4], 'big')
        if length == 1:  # the size has 64 bits
            length = int.from_bytes(header[8:16], 'big')
        if length < 8:  # 0: up to the end of the file; others are not valid
            return size
        end += length
    return end


def _end_of_riff(file: BinaryIO, size: int) -> int:
    end = 0
    while end + 8 <= size:  # an AVI of more than 1 GB has several parts
        file.seek(end)
        header = file.read(8)
        if header[:4] != b'RIFF':
            return size
        length = int.from_bytes(header[4:8], 'little')
        end += 8 + length + length % 2
    return end - (1 if end == size + 1 else 0)  # the padding of the last part may be missing


def _end_of_matroska(file: BinaryIO) -> int:
    file.seek(4)
    length, _ = _read_length(file)
    file.seek(length, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length, known = _read_length(file)
    return file.tell() + length if known else 0


def _read_length(file: BinaryIO) -> tuple[int, bool]:
    """Read a length of Matroska; return it, and whether it is known: it is not while recording."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, False
    count = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (2 ** (7 - count) - 1)]) + file.read(count), 'big')
    return value, value != 2 ** (7 * (count + 1)) - 1
