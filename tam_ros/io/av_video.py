# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of a video whose codec OpenCV does not decode, such as AV1, with PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tam_ros.io.frames import Frame, Header, SourceError, check_rate, paced_header
from tam_ros.io.stamps import NANOSECONDS
from tam_ros.io.video_file import FFMPEG_OPTIONS, video_address
from tam_ros.reading import reading


class AvVideo:
    """A video file that PyAV decodes, a `FrameSource`.

    Stamps are the times of the frames, from 0. A frame without a time, or with one that is not
    later than that of the frame before, is evenly spaced.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """Decode the first frame.

        Args:
            path: the file.
            rate_hz: frames per second, in place of the times in the file.

        Raises:
            SourceError: PyAV cannot decode the file.
        """
        self._path = Path(path)
        self.name = self._path.name
        self._given_hz = rate_hz
        if rate_hz is not None:
            check_rate(rate_hz)
        self.rate_hz = rate_hz
        self.count: int | None = None
        next(iter(self))

    def count_frames(self) -> int:
        """Count the frames, which takes as long as decoding them."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; then SourceError if the file is damaged."""
        import av

        index = first_ns = stamp_ns = 0
        with reading(self._path, SourceError, 'a video'):
            address = video_address(self._path)
            with av.open(address, container_options=FFMPEG_OPTIONS) as container:
                (stream, *_) = container.streams.video or [None]
                if stream is None:
                    raise SourceError(f'{self._path} has no video')
                self.count = stream.frames or None
                usual_hz = float(stream.average_rate or 0) or 30.0
                if self._given_hz is None:
                    self.rate_hz = usual_hz
                for picture in container.decode(stream):
                    if self._given_hz is not None:
                        header = paced_header(index, self._given_hz)
                    else:
                        time_ns = round((picture.time or 0.0) * NANOSECONDS)
                        if not index:
                            first_ns = time_ns
                        elif time_ns - first_ns <= stamp_ns:
                            time_ns = first_ns + stamp_ns + round(NANOSECONDS / usual_hz)
                        stamp_ns = time_ns - first_ns
                        header = Header(stamp_ns, '')
                    yield Frame(header.stamp, picture.to_ndarray(format='rgb24'), header)
                    index += 1
        if not index:
            raise SourceError(f'{self._path} has no frame that can be decoded')
