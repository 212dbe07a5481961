# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Frames of recordings: the interface that videos, image folders and ROS bags share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tam_ros.reading import InputError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


class SourceError(InputError, ValueError):
    """A recording is missing, damaged or not of the kind its name suggests; names the path."""


class TopicChoiceError(SourceError):
    """A bag has several colour image topics, and none was chosen.

    Attributes:
        topics: the topics to choose from; each has a `name`, and `str` describes it.
    """

    def __init__(self, path: Path, topics: Sequence[Any]) -> None:
        """List the topics in the message."""
        listing = '; '.join(map(str, topics))
        super().__init__(f'{path} has several image topics, choose one with its name: {listing}')
        self.topics = tuple(topics)


class Header(NamedTuple):
    """The content of a `std_msgs/Header`.

    Attributes:
        stamp_ns: nanoseconds of the recording's clock; counted from 0 if it has none.
        frame_id: coordinate frame of the camera; empty if the recording has none.
    """

    stamp_ns: int
    frame_id: str

    @property
    def stamp(self) -> float:
        """The stamp in seconds, the same float that the node computes from this header."""
        return self.stamp_ns / 1_000_000_000


class Frame(NamedTuple):
    """One frame of a recording.

    Attributes:
        stamp: seconds.
        rgb: uint8 RGB [H, W, 3].
        header: stamp and coordinate frame.
        recorded_ns: when the bag's recorder received the message, nanoseconds; None outside bags.
        file: name of its image file; empty for frames of videos and bags.
    """

    stamp: float
    rgb: np.ndarray
    header: Header
    recorded_ns: int | None = None
    file: str = ''


class FrameSource(Protocol):
    """A recording whose frames can be read from the first to the last, any number of times."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def count(self) -> int | None:
        """Number of frames according to the file, a hint for displays; None if unknown."""

    @property
    def rate_hz(self) -> float | None:
        """Nominal frames per second; None if only the stamps give the time."""

    def count_frames(self) -> int:
        """Return the number of frames; the recording is read if that is needed to know it."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Raises:
            SourceError: the recording is damaged. Raised after the frames before the damage.
        """
        ...


def paced_header(index: int, rate_hz: float) -> Header:
    """Return the header of frame `index` of a recording without stamps: evenly spaced from 0."""
    return Header(round(index * 1e9 / rate_hz), '')


def check_rate(rate_hz: float) -> None:
    """Raise SourceError unless `rate_hz` is a usable frame rate."""
    if not 0 < rate_hz <= 1000:
        raise SourceError(f'a rate of {rate_hz:g} frames per second is not usable')
