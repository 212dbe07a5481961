# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The frames of a recording in time: which are tracked, and how much time has passed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from tam_ros.io.frames import Frame, FrameSource
from tam_ros.prompting.stream_clock import StaleFrameError, StreamClock
from tam_ros.tracking import FrameError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimedFrame:
    """A frame that is tracked.

    Attributes:
        index: index in the recording, from 0.
        frame: the frame.
        restarted: whether its stamp jumped back, so that the clock of the tracker restarts.
        seconds: since the first frame; goes on where the stamps jump back.
    """

    index: int
    frame: Frame
    restarted: bool
    seconds: float


def timeline(source: FrameSource, report: bool = True) -> Iterator[TimedFrame]:
    """Yield the frames whose stamps follow each other, as the node tracks them.

    Frames that are not newer than the one before are skipped. After a jump back in time, the
    clock restarts. Both are reported in one line each.

    Args:
        source: the recording.
        report: whether to report; False if the recording is read again.

    Raises:
        SourceError: the recording is damaged; raised after the frames before the damage.
        FrameError: a frame has another size than those before it.
    """
    clock = StreamClock()
    stale: list[str] = []
    jumps: list[str] = []
    size: tuple[int, ...] | None = None
    seconds, newest = 0.0, None
    try:
        for index, frame in enumerate(source):
            try:
                back = clock.check(frame.header.stamp_ns)
            except StaleFrameError as error:
                stale.append(f'frame {index}: {error}')
                continue
            size = size or frame.rgb.shape[:2]
            if frame.rgb.shape[:2] != size:
                height, width = frame.rgb.shape[:2]
                raise FrameError(
                    f'frame {index}: the image is {width}x{height}, but those before it are '
                    f'{size[1]}x{size[0]}; a recording has one size: split it there'
                )
            if back:
                jumps.append(
                    f'frame {index}: time went back by {back:.3f} s: objects are kept, the clock '
                    'restarts'
                )
            elif newest is not None:
                seconds += frame.stamp - newest
            newest = frame.stamp
            clock.accept(frame.header.stamp_ns)
            yield TimedFrame(index, frame, bool(back), seconds)
    finally:
        if report:
            if jumps:
                often = f'; {len(jumps)} times in all' if len(jumps) > 1 else ''
                _log.warning('%s%s', jumps[0], often)
            if stale:
                frames = 'frame' if len(stale) == 1 else 'frames'
                _log.warning('%d %s skipped, the first was %s', len(stale), frames, stale[0])
