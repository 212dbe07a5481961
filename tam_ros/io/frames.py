# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of recordings: one small protocol for videos, image folders and ROS bags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
BAG_SUFFIXES = ('.bag', '.mcap', '.db3')


class SourceError(ValueError):
    """A recording is missing, damaged or not what its name says; the message names the path."""


class TopicChoiceError(SourceError):
    """A bag has several topics with pictures, and none was chosen.

    Attributes:
        topics: to choose from, each with its `name`; as text, what it holds.
    """

    def __init__(self, path: Path, topics: Sequence[Any]) -> None:
        """List them in the message."""
        listing = '; '.join(map(str, topics))
        super().__init__(f'{path} has several image topics, choose one with its name: {listing}')
        self.topics = tuple(topics)


class Header(NamedTuple):
    """What a `std_msgs/Header` says about a frame."""

    stamp_ns: int  # nanoseconds; of the recording's own clock, or from 0 where it has none
    frame_id: str  # coordinate frame of the camera, empty where the recording has none

    @property
    def stamp(self) -> float:
        """Seconds; the same number that the node makes of the same header."""
        return self.stamp_ns / 1_000_000_000


class Frame(NamedTuple):
    """One frame of a recording."""

    stamp: float  # seconds
    rgb: np.ndarray  # uint8 [H, W, 3]
    header: Header
    recorded_ns: int | None = None  # when a bag's recorder received it, nanoseconds
    file: str = ''  # name of its image file, where it has one of its own


class FrameSource(Protocol):
    """A recording that can be gone through, more than once, from its first frame to its last.

    Attributes:
        name: what to call it in messages.
        count: how many frames it announces, or None where that is not known beforehand. What
            iterating really gives may be fewer.
        rate_hz: nominal frames a second, or None where only the stamps tell.
    """

    name: str
    count: int | None
    rate_hz: float | None

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames in order.

        Raises:
            SourceError: the recording is damaged. The frames before the damage have been given.
        """
        ...


def paced_header(index: int, rate_hz: float) -> Header:
    """Return the header of frame `index` of a recording without a clock: evenly spaced from 0."""
    return Header(round(index * 1e9 / rate_hz), '')


def check_rate(rate_hz: float) -> None:
    """Raise SourceError unless `rate_hz` is a usable number of frames a second."""
    if not 0 < rate_hz <= 1000:
        raise SourceError(f'a rate of {rate_hz:g} frames a second is not usable')
