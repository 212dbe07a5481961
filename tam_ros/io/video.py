# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2

from tam_ros.io.frames import Frame, SourceError, check_rate, paced_header

_FALLBACK_RATE_HZ = 30.0


class VideoSource:
    """A video file of any container and codec that OpenCV reads; see `FrameSource`.

    Stamps are evenly spaced, frame index divided by rate. Cameras rarely write a variable rate,
    and the repeated stamps of broken containers would be refused by the tracker.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """Read the video's header and first frame.

        Args:
            path: the file.
            rate_hz: frames per second, in place of the rate in the file.

        Raises:
            SourceError: the file is missing or is not a video that OpenCV decodes.
        """
        self._path = Path(path)
        self.name = self._path.name
        capture = self._open()
        declared = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        stated = capture.get(cv2.CAP_PROP_FPS)
        readable, _ = capture.read()
        capture.release()
        if not readable:
            raise SourceError(f'{self._path} has no frame that can be decoded')
        self.count = int(declared) if math.isfinite(declared) and declared > 0 else None
        if rate_hz is None:
            usable = math.isfinite(stated) and 0 < stated <= 1000
            rate_hz = stated if usable else _FALLBACK_RATE_HZ
        check_rate(rate_hz)
        self.rate_hz = rate_hz

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; then SourceError if the header gives more frames than the file has."""
        capture = self._open()
        try:
            index = 0
            while True:
                readable, bgr = capture.read()
                if not readable:
                    break
                header = paced_header(index, self.rate_hz)
                yield Frame(header.stamp, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), header)
                index += 1
        finally:
            capture.release()
        # Some containers only estimate their number of frames, hence the tolerance.
        if self.count is not None and index < self.count - max(2, 0.02 * self.count):
            raise SourceError(
                f'{self._path} is truncated or damaged: its header gives {self.count} frames, '
                f'but only {index} can be read'
            )

    def _open(self) -> cv2.VideoCapture:
        if not self._path.is_file():
            raise SourceError(f'{self._path} is not a file')
        if self._path.stat().st_size == 0:
            raise SourceError(f'{self._path} is empty')
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f'{self._path} cannot be opened as a video: it is damaged, incomplete, or of a '
                'kind that OpenCV cannot read'
            )
        return capture
