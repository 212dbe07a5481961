# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opens one video file with FFmpeg, and nothing else that its name or its content asks for.

FFmpeg takes addresses, not paths: it opens a connection for `http:/camera/clip.mp4` and `tcp:...`,
also where a folder of that name exists, reads `im%03d.png` as a sequence, and follows playlists to
other files and addresses. So it gets an absolute path, a list of the formats that are one file,
and no protocol but files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from tam_ros.io.frames import SourceError
from tam_ros.regular_file import open_regular

# FFmpeg's names of what reads a single file. Not among them: hls, concat, dash, sdp, imf,
# image2 and others that open what a file names.
_CONTAINERS = (
    *('3g2', '3gp', 'asf', 'avi', 'dv', 'flv', 'gif', 'gxf', 'ivf', 'm4a', 'matroska', 'mj2'),
    *('mov', 'mp4', 'mpeg', 'mpegts', 'mxf', 'nut', 'ogg', 'rm', 'webm', 'wtv', 'yuv4mpegpipe'),
)
_STREAMS = (
    'av1',
    'h261',
    'h263',
    'h264',
    'hevc',
    'm4v',
    'mjpeg',
    'mpegvideo',
    'obu',
    'vc1',
    'vvc',
)
FFMPEG_OPTIONS = {
    'format_whitelist': ','.join((*_CONTAINERS, *_STREAMS)),
    'protocol_whitelist': 'file',
}
"""Options of `avformat_open_input`."""

_OPENCV_OPTIONS = 'OPENCV_FFMPEG_CAPTURE_OPTIONS'  # `name;value|name;value`, read at each opening

_BEGINNING = 512  # bytes that tell text
_PLAIN_VIDEO = b'YUV4MPEG2 '  # the only format here that begins with text
# A playlist may contain other bytes further on, but begins with one of these.
_PLAYLISTS = (b'#EXTM3U', b'ffconcat', b'v=0', b'<?xml', b'<MPD', b'[playlist]', b'[Reference]')
_CONTROL = frozenset(range(32)) - frozenset(b'\t\n\f\r')


def video_address(path: Path) -> str:
    """Return what FFmpeg is to open: the absolute path of a regular file.

    Raises:
        SourceError: it is missing, empty, not a regular file, or text, as playlists are.
    """
    try:
        with open_regular(path, limit=2**63) as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        reason = 'is not a file' if not error.errno else f'cannot be read: {error.strerror}'
        raise SourceError(f'{path} {reason}') from error
    if not beginning:
        raise SourceError(f'{path} is empty')
    if _is_text(beginning):
        raise SourceError(
            f'{path} is text, not a video; playlists are not followed, so give the video itself'
        )
    return os.path.abspath(path)


def open_capture(path: Path) -> cv2.VideoCapture:
    """Open a video file with OpenCV.

    Returns:
        The capture, which may not be opened; see `isOpened`.

    Raises:
        SourceError: see `video_address`.
    """
    address = video_address(path)
    # Further backends would read other things than FFmpeg refuses, such as numbered images.
    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
    with _opencv_options():
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)


@contextmanager
def _opencv_options() -> Iterator[None]:
    """Give OpenCV our options beside those of the user, in the only way that it has."""
    given = os.environ.get(_OPENCV_OPTIONS)
    ours = '|'.join(f'{name};{value}' for name, value in FFMPEG_OPTIONS.items())
    os.environ[_OPENCV_OPTIONS] = f'{given}|{ours}' if given else ours
    try:
        yield
    finally:
        if given is None:
            del os.environ[_OPENCV_OPTIONS]
        else:
            os.environ[_OPENCV_OPTIONS] = given


def _is_text(beginning: bytes) -> bool:
    if beginning.startswith(_PLAIN_VIDEO):
        return False
    if beginning.removeprefix(b'\xef\xbb\xbf').lstrip().startswith(_PLAYLISTS):
        return True
    if _CONTROL.intersection(beginning):
        return False
    try:
        beginning.decode()
    except UnicodeDecodeError as error:
        return error.end >= len(beginning)  # the last character is cut
    return True
