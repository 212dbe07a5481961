# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Puts an image, its label image and its objects together, by their stamps."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_KEPT = 60
"""Images that may wait for their results: two seconds of a camera."""

MAX_KEPT_BYTES = 128_000_000
"""Memory of the images that wait."""

MAX_RESULTS = 8
"""Results that may wait for their image or for their other half."""

LIVE_AFTER_S = 2.0
"""Seconds without a result after which images are shown without one."""

LIVE_AFTER_GAPS = 3.0
"""As many times the usual time between results: those of a slow tracker are waited for, since the
pictures would jump back when one arrives."""

_LONGEST_WAIT_S = 15.0

_I = TypeVar('_I')
_L = TypeVar('_L')
_O = TypeVar('_O')


@dataclass(frozen=True)
class Joined(Generic[_I, _L, _O]):
    """What belongs to one image.

    Attributes:
        stamp_ns: its stamp, nanoseconds.
        image: the image.
        labels: its label image; None: it was not tracked.
        objects: its objects; None: it was not tracked.
    """

    stamp_ns: int
    image: _I
    labels: _L | None = None
    objects: _O | None = None


class Joiner(Generic[_I, _L, _O]):
    """Joins one stream. The tracking node skips images, but never reorders them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start a stream.

        Args:
            clock: returns the time that passes, seconds.
        """
        self._clock = clock
        self._images: OrderedDict[int, tuple[_I, int]] = OrderedDict()
        self._bytes = 0
        self._labels: OrderedDict[int, _L] = OrderedDict()
        self._objects: OrderedDict[int, _O] = OrderedDict()
        self._joined_s, self._gap_s = clock(), 0.0

    def add_image(self, stamp_ns: int, image: _I, size: int) -> Joined[_I, _L, _O] | None:
        """Add an image; return it without a result if there has been none for a while.

        Args:
            stamp_ns: its stamp, nanoseconds.
            image: the image.
            size: its memory, bytes.
        """
        self._drop(stamp_ns)
        self._images[stamp_ns] = image, size
        self._bytes += size
        while len(self._images) > MAX_KEPT or (
            self._bytes > MAX_KEPT_BYTES and len(self._images) > 1
        ):
            self._drop(next(iter(self._images)))
        joined = self._join(stamp_ns)
        if joined is None and self._clock() - self._joined_s >= self._patience_s():
            return Joined(stamp_ns, image)
        return joined

    def _patience_s(self) -> float:
        return min(_LONGEST_WAIT_S, max(LIVE_AFTER_S, LIVE_AFTER_GAPS * self._gap_s))

    def add_labels(self, stamp_ns: int, labels: _L) -> Joined[_I, _L, _O] | None:
        """Add a label image; return everything about its image if it is complete."""
        _keep(self._labels, stamp_ns, labels)
        return self._join(stamp_ns)

    def add_objects(self, stamp_ns: int, objects: _O) -> Joined[_I, _L, _O] | None:
        """Add the objects of an image; return everything about it if it is complete."""
        _keep(self._objects, stamp_ns, objects)
        return self._join(stamp_ns)

    def _join(self, stamp_ns: int) -> Joined[_I, _L, _O] | None:
        parts = (self._images, self._labels, self._objects)
        if not all(stamp_ns in part for part in parts):
            return None
        joined = Joined(
            stamp_ns,
            self._images[stamp_ns][0],
            self._labels.pop(stamp_ns),
            self._objects.pop(stamp_ns),
        )
        now = self._clock()
        self._joined_s, self._gap_s = now, now - self._joined_s
        # The images before it were skipped. After a clock that went back, those are all others.
        while self._images and stamp_ns in self._images:
            self._drop(next(iter(self._images)))
        return joined

    def _drop(self, stamp_ns: int) -> None:
        if (dropped := self._images.pop(stamp_ns, None)) is not None:
            self._bytes -= dropped[1]


_V = TypeVar('_V')


def _keep(kept: OrderedDict[int, _V], stamp_ns: int, value: _V) -> None:
    kept[stamp_ns] = value
    while len(kept) > MAX_RESULTS:
        kept.popitem(last=False)
