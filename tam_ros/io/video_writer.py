# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes an MP4 file frame by frame, of any size and at the times of the frames."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.io.disk_space import ensure_room
from tam_ros.io.stamps import NANOSECONDS, median_rate
from tam_ros.io.video_encoders import Encoder, explanation, open_encoder
from tam_ros.new_output import NewOutput, OutputError
from tam_ros.reading import reason

_RESERVE = 2**20  # bytes for what the encoder has buffered and for the fixed parts of the index
_INDEX_ENTRY = 64  # bytes per frame in the index at the end, at most

_PLAYABLE_HZ = 1.0, 120.0
_USUAL_HZ = 30.0
_LOOK_AT = 10  # frames whose stamps give the rate
_LONGEST_NS = 60 * NANOSECONDS  # that a frame is shown

_LARGEST = 4096  # pixels; the side up to which H.264 is decoded in hardware
_SMALLEST = 16  # pixels; a macroblock

_log = logging.getLogger(__name__)


class VideoWriteError(OutputError):
    """A video file cannot be written; the message gives the path and the reason."""


class VideoWriter(Closing):
    """A new MP4 file. Use it as a context manager: it is then always complete.

    Frames are shown at the times of their stamps, or at equal intervals if the encoder cannot
    store times (see `video_encoders`). A recording slower than one frame per second, or faster
    than 120, is shown at 30. A picture larger than 4096 pixels is reduced by a whole factor; one
    with an odd side, or a side below 16, gets its last row or column repeated.

    If the disk is full, the frame that does not fit is refused and the file can still be finished.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """Reserve the file.

        Args:
            path: ends in `.mp4`; its folder exists.
            rate_hz: frames per second; None: that of the stamps of the first frames.

        Raises:
            VideoWriteError: the name does not end in `.mp4`.
            OutputError: the path exists, or cannot be written.
        """
        self.path = Path(path)
        if self.path.suffix.lower() != '.mp4':
            raise VideoWriteError(f'{self.path} must end in .mp4')
        self._output = NewOutput(path)
        self._rate_hz = rate_hz
        self._waiting: list[tuple[NDArray[np.uint8], int | None]] = []
        self._encoder: Encoder | None = None
        self._size = (0, 0)
        self._frames = 0
        self._spacing_ns = 0
        self._has_times = True
        self._shown_ns = 0  # when the last frame is shown
        self._stamp_ns: int | None = None  # of the last frame
        self._open = True

    @property
    def codec(self) -> str:
        """Name of the codec; empty before it is known."""
        return self._encoder.codec if self._encoder is not None else ''

    def write(self, rgb: NDArray[np.uint8], stamp_ns: int | None = None) -> None:
        """Append one frame.

        Args:
            rgb: [H, W, 3].
            stamp_ns: nanoseconds of any clock; None: one interval after the last frame.

        Raises:
            VideoWriteError: the file cannot be created, the size changed, or the disk is full.
        """
        height, width = rgb.shape[:2]
        if self._size == (0, 0):
            self._size = (width, height)
        if (width, height) != self._size:
            raise VideoWriteError(
                f'{self.path} has frames of {self._size}, one of {(width, height)} does not fit'
            )
        if self._encoder is None:
            self._waiting.append((rgb, stamp_ns))
            if self._rate_hz is not None or stamp_ns is None or len(self._waiting) == _LOOK_AT:
                self._start()
        else:
            self._encode(self._encoder, rgb, stamp_ns)

    def close(self) -> None:
        """Finish the file. Calling it again does nothing.

        Raises:
            VideoWriteError: the file that was written cannot be opened.
        """
        if not self._open:
            return
        if self._waiting and self._encoder is None:
            self._start()
        if self._encoder is None or not self._frames:
            self.discard()
            return
        self._open = False
        try:
            self._encoder.close()
        except OSError:
            playable = False
        else:
            written = cv2.VideoCapture(str(self._output.partial))
            playable = written.isOpened()
            written.release()
        self._output.publish()
        if not playable:
            raise VideoWriteError(f'{self.path} cannot be finished: is the disk full?')

    def discard(self) -> None:
        """Remove what was written, in place of `close`."""
        self._open = False
        self._waiting.clear()
        if self._encoder is not None:
            with contextlib.suppress(OSError):
                self._encoder.close()
        self._output.close()

    def _start(self) -> None:
        """Choose the rate and the encoder, and write the frames that wait for them."""
        waiting, self._waiting = self._waiting, []
        rate_hz = self._rate_hz
        if rate_hz is None:
            rate_hz = median_rate([stamp for _, stamp in waiting if stamp is not None])
        lowest, highest = _PLAYABLE_HZ
        if rate_hz is not None and not lowest <= rate_hz <= highest:
            _log.warning(
                '%s shows %g frames per second; the recording has %.3g',
                self.path,
                _USUAL_HZ,
                rate_hz,
            )
            self._has_times = False
            rate_hz = None
        rate_hz = rate_hz or _USUAL_HZ
        self._spacing_ns = round(NANOSECONDS / rate_hz)
        height, width = _fitted(waiting[0][0]).shape[:2]
        if max(self._size) > _LARGEST:
            _log.warning(
                '%s has frames of %dx%d pixels: more than %d cannot be played everywhere',
                self.path,
                width,
                height,
                _LARGEST,
            )
        try:
            self._encoder = open_encoder(self._output.partial, (width, height), rate_hz)
        except OSError as error:
            raise self._error('cannot be written', error) from error
        note = explanation(self._encoder.codec)
        if note:
            _log.warning('%s is encoded as %s; %s', self.path, self._encoder.codec, note)
        for rgb, stamp_ns in waiting:
            self._encode(self._encoder, rgb, stamp_ns)

    def _encode(self, encoder: Encoder, rgb: NDArray[np.uint8], stamp_ns: int | None) -> None:
        fitted = _fitted(rgb)
        try:
            # OpenCV does not report failed writes. No frame takes more bytes than its pixels, half
            # of them without the colours that encoders leave out.
            frames = fitted.size + encoder.delay * fitted.size // 2
            room = _RESERVE + frames + _INDEX_ENTRY * self._frames
            ensure_room(self._output.partial, room)
            encoder.write(fitted, self._time_ns(stamp_ns))
        except OSError as error:
            raise self._error('cannot be written any further', error) from error
        self._frames += 1

    def _time_ns(self, stamp_ns: int | None) -> int:
        """Return when a frame is shown: after the last one, however the stamps jump."""
        if not self._frames:
            self._shown_ns = 0
        else:
            interval = self._spacing_ns
            if self._has_times and stamp_ns is not None and self._stamp_ns is not None:
                own = stamp_ns - self._stamp_ns
                if 0 < own <= _LONGEST_NS:
                    interval = own
            self._shown_ns += interval
        self._stamp_ns = stamp_ns
        return self._shown_ns

    def _error(self, what: str, error: OSError) -> VideoWriteError:
        return VideoWriteError(f'{self.path} {what}: {reason(error)}')


def _fitted(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame in a size that encoders take and players show."""
    height, width = rgb.shape[:2]
    factor = -(-max(height, width) // _LARGEST)
    if factor > 1:
        size = max(width // factor, 1), max(height // factor, 1)
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = rgb.shape[:2]
    below, right = (max(side + side % 2, _SMALLEST) - side for side in (height, width))
    if below or right:
        rgb = np.asarray(
            cv2.copyMakeBorder(rgb, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8
        )
    return np.ascontiguousarray(rgb)
