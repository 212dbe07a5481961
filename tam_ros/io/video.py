# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import cv2

from tam_ros.io.frames import Frame, Header, SourceError, check_rate
from tam_ros.io.stamps import NANOSECONDS, median_rate
from tam_ros.io.video_container import is_truncated
from tam_ros.io.video_file import open_capture
from tam_ros.reading import reading

_FALLBACK_RATE_HZ = 30.0
# Headers without a known rate have the clock of the container instead, 1000 or 90000 per second.
_MIN_RATE_HZ, _MAX_RATE_HZ = 0.01, 999.0
_WHAT = 'a video'
_LOOK_AT = 10  # frames, to compare the rate in the header with their times
_MAX_COUNT = 10**9  # frames; larger numbers in headers are arithmetic with an unknown duration

_log = logging.getLogger(__name__)


class UndecodedVideoError(SourceError):
    """A video whose codec OpenCV does not know, or without any frame."""


class VideoSource:
    """A video file of any container and codec that OpenCV reads; see `FrameSource`.

    Stamps are the times of the frames according to the decoder, from 0. Where it has none, the
    frames are evenly spaced. The number of frames and the rate in the header are hints: the
    number is only shown, and the rate is used if the times of the first frames do not deny it.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """Read the video's header and first frames.

        Args:
            path: the file.
            rate_hz: frames per second, in place of the times in the file.

        Raises:
            UndecodedVideoError: OpenCV opens the file, but decodes no frame.
            SourceError: the file is missing or is not a video that OpenCV opens.
        """
        self._path = Path(path)
        self.name = self._path.name
        with reading(self._path, SourceError, _WHAT):
            capture = self._open()
            declared = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            stated = capture.get(cv2.CAP_PROP_FPS)
            readable, _ = capture.read()
            times = [_time_ns(capture)]
            while len(times) < _LOOK_AT and capture.grab():
                times.append(_time_ns(capture))
            code = int(capture.get(cv2.CAP_PROP_FOURCC)) % (1 << 32)
            codec = code.to_bytes(4, 'little').decode('latin-1')
            capture.release()
        if not readable:
            raise UndecodedVideoError(
                f'{self._path} has no frame that OpenCV can decode; its codec is {codec!r}'
            )
        usable = math.isfinite(declared) and 0 < declared < _MAX_COUNT
        self.count = int(declared) if usable else None
        self._has_times = rate_hz is None and _is_usable(median_rate(times))
        if rate_hz is None:
            rate_hz = self._usual_rate(stated, median_rate(times))
        check_rate(rate_hz)
        self.rate_hz = rate_hz
        self._counted: int | None = None

    def count_frames(self) -> int:
        """Count the frames, which takes about as long as decoding them."""
        if self._counted is None:
            capture = self._open()
            self._counted = 0
            while capture.grab():
                self._counted += 1
            capture.release()
        return self._counted

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; then SourceError if the file is truncated."""
        capture = self._open()
        try:
            index, first, stamp_ns = 0, 0, 0
            spacing_ns = NANOSECONDS / self.rate_hz
            while True:
                with reading(self._path, SourceError, _WHAT):
                    readable, bgr = capture.read()
                    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if readable else None
                if rgb is None:
                    break
                if self._has_times:
                    if not index:
                        first = _time_ns(capture)
                    time_ns = _time_ns(capture) - first
                    # Broken containers repeat times.
                    if index and time_ns <= stamp_ns:
                        time_ns = stamp_ns + round(spacing_ns)
                else:
                    time_ns = round(index * spacing_ns)
                stamp_ns = time_ns
                header = Header(stamp_ns, '')
                yield Frame(header.stamp, rgb, header)
                index += 1
        finally:
            capture.release()
        if is_truncated(self._path):
            raise SourceError(
                f'{self._path} is truncated or damaged: its header gives {self.count or "more"} '
                f'frames, but only {index} can be read'
            )

    def _usual_rate(self, stated: float, measured: float | None) -> float:
        if _is_usable(stated) and (
            measured is None or not _is_usable(measured) or stated / 4 < measured < stated * 4
        ):
            return stated
        if measured is not None and _is_usable(measured):
            return measured
        _log.warning(
            '%s has no usable times: %g frames per second are assumed; --rate sets another number',
            self._path,
            _FALLBACK_RATE_HZ,
        )
        return _FALLBACK_RATE_HZ

    def _open(self) -> cv2.VideoCapture:
        capture = open_capture(self._path)
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f'{self._path} cannot be opened as a video: it is damaged, incomplete, or of a '
                'kind that OpenCV cannot read'
            )
        return capture


def _time_ns(capture: cv2.VideoCapture) -> int:
    """Return the time of the frame that was read last, nanoseconds; 0 if it has none."""
    milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
    return round(milliseconds * 1e6) if math.isfinite(milliseconds) else 0


def _is_usable(rate_hz: float | None) -> bool:
    return (
        rate_hz is not None and math.isfinite(rate_hz) and _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ
    )
