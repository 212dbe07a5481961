# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Encoders of MP4 files: H.264 by PyAV where it is installed, else what OpenCV has.

Browsers play H.264 and VP9, in MP4 too. The wheels of OpenCV have VP9, which takes longer, and
MPEG-4 part 2, which browsers do not play.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

_H264 = ('libx264', 'libopenh264')  # names in FFmpeg
# Code in the file, name, and frames that wait in the encoder.
_OPENCV = (('vp09', 'VP9', 25), ('mp4v', 'MPEG-4', 1))
_TICKS = 90_000  # per second; the usual clock of video


class Encoder(Protocol):
    """A file that is being encoded.

    Attributes:
        codec: its name for users.
        delay: frames that may wait in it until they are written.
    """

    codec: str
    delay: int

    def write(self, rgb: NDArray[np.uint8], time_ns: int) -> None:
        """Append a frame [H, W, 3] that is shown from `time_ns` on, nanoseconds from the start.

        Raises:
            OSError: it cannot be written, as far as that is reported.
        """

    def close(self) -> None:
        """Finish the file."""


def open_encoder(path: Path, size: tuple[int, int], rate_hz: float) -> Encoder:
    """Create a file with the best encoder that there is.

    Args:
        path: ends in `.mp4`.
        size: (width, height), both even.
        rate_hz: frames per second, where the encoder cannot store the time of each frame.

    Raises:
        OSError: no encoder can create the file.
    """
    name = _h264_encoder()
    if name is not None:
        return _PyAvEncoder(name, path, size, rate_hz)
    for fourcc, codec, delay in _OPENCV:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), rate_hz, size)
        if writer.isOpened():
            return _OpenCvEncoder(writer, codec, delay)
        path.unlink(missing_ok=True)
    raise OSError('OpenCV has no encoder for it; pip install av')


def explanation(codec: str) -> str:
    """Return what a user should know about a video of that codec; empty if it is the best one."""
    return {
        'VP9': 'PyAV makes it several times faster: pip install av',
        'MPEG-4': 'browsers do not play it; PyAV writes H.264: pip install av',
    }.get(codec, '')


def _h264_encoder() -> str | None:
    """Return FFmpeg's name of an encoder that PyAV has; None if PyAV is absent or has none."""
    if importlib.util.find_spec('av') is None:
        return None
    import av

    return next((name for name in _H264 if name in av.codecs_available), None)


class _PyAvEncoder:
    """H.264, with the time of each frame."""

    codec = 'H.264'
    delay = 0

    def __init__(self, name: str, path: Path, size: tuple[int, int], rate_hz: float) -> None:
        import av

        self._av = av
        with _system_errors(av):
            self._container: Any = av.open(str(path), 'w', format='mp4')
        rate = Fraction(rate_hz).limit_denominator(1001)
        # PyAV's types do not know that a codec given by its name is one of videos.
        self._stream = cast(Any, self._container.add_stream(name, rate=rate))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = 'yuv420p'  # browsers show nothing else
        # Each frame is written at once, so that the room on the disk can be checked before it.
        self._stream.options = {'preset': 'veryfast', 'tune': 'zerolatency', 'crf': '23'}
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        with _system_errors(av):
            self._container.start_encoding()

    def write(self, rgb: NDArray[np.uint8], time_ns: int) -> None:
        frame = self._av.VideoFrame.from_ndarray(rgb, format='rgb24')
        frame.pts = round(time_ns * _TICKS / 1e9)
        frame.time_base = Fraction(1, _TICKS)
        with _system_errors(self._av):
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        with _system_errors(self._av):
            try:
                self._container.mux(self._stream.encode())
            finally:
                self._container.close()


@contextmanager
def _system_errors(av: Any) -> Iterator[None]:
    """Raise the errors of FFmpeg as those of the system, which some of them are not."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


class _OpenCvEncoder:
    """Frames at equal intervals; failed writes are not reported."""

    def __init__(self, writer: cv2.VideoWriter, codec: str, delay: int) -> None:
        self._writer = writer
        self.codec = codec
        self.delay = delay

    def write(self, rgb: NDArray[np.uint8], time_ns: int) -> None:
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()
