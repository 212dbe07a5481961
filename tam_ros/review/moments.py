# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The moments of a recording that a person should look at, found in the course of each object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.review.results import VISIBLE, LabelledFrame

_FAR = 1.0
"""A mask has jumped if its centre moves by more than this many of its sizes between two frames."""

_GROWTH = 2.0
"""A mask has changed its size suddenly if its area changes by more than this factor."""

_PART = 0.15
"""A mask is split if its second largest part has at least this share of it."""

_UNSURE = 0.5
_APART = 5
"""Frames; moments of an object that are nearer to each other are one."""


@dataclass
class Course:
    """One object over the frames of a recording. Lists have an entry for each frame.

    Attributes:
        id: the object's id.
        first: number of the frame on which it appears first.
        states: its state.
        scores: its score, or None.
        areas: pixels of its mask.
        centres: centre of its mask, (x, y) in pixels; None without a mask.
        shares: share of the mask that is not in its largest part.
    """

    id: int
    first: int
    states: list[str] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    centres: list[tuple[float, float] | None] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


class Moment(NamedTuple):
    """A frame to look at.

    Attributes:
        frame: its number.
        object_id: the object that it is about.
        what: what has happened.
        weight: how much it matters; higher first.
    """

    frame: int
    object_id: int
    what: str
    weight: float


def courses(frames: Iterable[LabelledFrame]) -> tuple[list[Course], int]:
    """Return the course of each object, and the number of frames."""
    found: dict[int, Course] = {}
    count = 0
    for count, frame in enumerate(frames, 1):
        for item in frame.objects:
            course = found.setdefault(item.id, Course(item.id, count - 1))
            area, centre, share = _measure(frame.labels == item.id)
            course.states.append(item.state)
            course.scores.append(item.score)
            course.areas.append(area)
            course.centres.append(centre)
            course.shares.append(share)
    return sorted(found.values(), key=lambda one: one.id), count


def _measure(mask: NDArray[np.bool_]) -> tuple[int, tuple[float, float] | None, float]:
    """Return area, centre, and the share of the second largest part of a mask."""
    if not mask.any():
        return 0, None, 0.0
    count, _, sizes, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = sizes[1:count, cv2.CC_STAT_AREA]
    total = int(areas.sum())
    x, y = (centres[1:count] * areas[:, None]).sum(axis=0) / total
    second = float(np.sort(areas)[-2] / total) if count > 2 else 0.0
    return total, (float(x), float(y)), second


def moments(course: Course) -> list[Moment]:
    """Return the moments of an object, in the order of time."""
    found: list[Moment] = []

    def add(place: int, what: str, weight: float) -> None:
        frame = course.first + place
        if found and frame - found[-1].frame < _APART:
            # One event is often seen in several ways: the frame of the strongest is shown.
            last = found[-1]
            if weight > last.weight:
                last = last._replace(frame=frame, weight=weight)
            if what.split()[0] not in last.what:
                last = last._replace(what=f'{last.what}; {what}')
            found[-1] = last
            return
        found.append(Moment(frame, course.id, what, weight))

    for place in range(1, len(course.states)):
        was, now = course.states[place - 1 : place + 1]
        if now == VISIBLE and was != VISIBLE:
            add(place, 'found again', 3)
        elif now != VISIBLE and was == VISIBLE:
            add(place, 'not visible', 2)
        before, after = course.centres[place - 1 : place + 1]
        old, new = course.areas[place - 1 : place + 1]
        if before is not None and after is not None:
            size = max(old, new) ** 0.5
            far = float(np.hypot(after[0] - before[0], after[1] - before[1])) / size
            if far > _FAR:
                add(place, f'jumps by {far:.1f} of its size', 4 + min(far, 5))
            factor = max(old, new) / max(1, min(old, new))
            if factor > _GROWTH:
                kind = 'grows' if new > old else 'shrinks'
                add(place, f'{kind} to {new / old:.2g} of its area', 3 + min(factor / 5, 2))
        if course.shares[place] >= _PART > course.shares[place - 1]:
            add(place, f'falls apart: {course.shares[place]:.0%} elsewhere', 3.5)
        sure, unsure = course.scores[place - 1 : place + 1]
        if sure is not None and unsure is not None and unsure < _UNSURE <= sure and new:
            add(place, f'score falls to {unsure:.2f}', 1)
    return found


def chosen(found: Iterable[Moment], limit: int) -> list[Moment]:
    """Return the moments that matter most, in the order of time."""
    heaviest = sorted(found, key=lambda one: -one.weight)[:limit]
    return sorted(heaviest, key=lambda one: (one.frame, one.object_id))


def evenly(count: int, wanted: int) -> list[int]:
    """Return the numbers of frames for a contact sheet."""
    if count <= wanted:
        return list(range(count))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist()
