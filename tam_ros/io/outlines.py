# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Outlines of masks as polygons.

Coordinates are those of the edges of pixels, as in COCO: the pixel in row 0 and column 0 covers
the square from (0, 0) to (1, 1).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Ring: TypeAlias = NDArray[np.int32]
"""Corners (x, y) of a closed line, [N, 2], in either direction."""


def polygons(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return polygons that cover exactly a mask: no two overlap, and none has a hole.

    Each part of the mask is a polygon; pixels that share only a corner are not connected. A part
    with holes is cut from top to bottom through each of them, into polygons that touch.

    Args:
        mask: [H, W].
    """
    window = _window(mask)
    rings = edges(mask[window])
    if any(_is_hole(ring, mask[window]) for ring in rings):
        _, parts = cv2.connectedComponents(mask[window].astype(np.uint8), connectivity=4)
        numbers = range(1, int(parts.max()) + 1)
        rings = [ring for number in numbers for ring in _without_holes(parts == number)]
    return [_moved(ring, window) for ring in rings]


def one_ring(rings: list[Ring]) -> Ring:
    """Join polygons to one, by lines of no width that are run along in both directions.

    Args:
        rings: as `polygons` returns them, at least one.
    """
    joined, *others = (ring if _turns_left(ring) else ring[::-1] for ring in rings)
    for ring in others:
        at, start = _nearest(joined, ring)
        there_and_back = np.roll(ring, -start, axis=0)
        joined = np.concatenate(
            (joined[: at + 1], there_and_back, there_and_back[:1], joined[at:])
        )
    return joined


def _turns_left(ring: Ring) -> bool:
    x, y = ring.T.astype(np.int64)
    return bool(np.dot(x, np.roll(y, -1)) > np.dot(y, np.roll(x, -1)))


def _nearest(one: Ring, other: Ring) -> tuple[int, int]:
    """Return the places of the corners of two rings that are nearest to each other."""
    best = (np.inf, 0, 0)
    for at, corner in enumerate(one):
        distances = np.square(other - corner).sum(axis=1)
        start = int(distances.argmin())
        best = min(best, (float(distances[start]), at, start))
    return best[1:]


def _without_holes(part: NDArray[np.bool_]) -> list[Ring]:
    """Return the outlines of a connected part, cut at columns so that none has a hole."""
    window = _window(part)
    part = part[window]
    rings = edges(part)
    holes = [
        (int(ring[:, 0].min()), int(ring[:, 0].max())) for ring in rings if _is_hole(ring, part)
    ]
    if holes:
        rings = []
        for start, stop in pairwise([0, *_cuts(holes), part.shape[1]]):
            band = (slice(None), slice(start, stop))
            rings += [_moved(ring, band) for ring in edges(part[band])]
    return [_moved(ring, window) for ring in rings]


def _cuts(intervals: list[tuple[int, int]]) -> list[int]:
    """Return as few numbers as possible so that each interval, ends included, contains one."""
    cuts: list[int] = []
    low, high = 0, -1  # what the intervals that the next cut is for have in common
    for start, stop in sorted(intervals):
        if start > high:
            if high >= 0:
                cuts.append((low + high) // 2)
            low, high = start, stop
        else:
            low, high = start, min(high, stop)
    return [*cuts, (low + high) // 2]


def _is_hole(ring: Ring, mask: NDArray[np.bool_]) -> bool:
    """Tell whether a ring of `edges` surrounds a hole of the mask, not a part of it."""
    y, x = min(ring[:, ::-1].tolist())
    return not mask[y, x]  # the pixel inside the upper left corner


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def _moved(ring: Ring, window: tuple[slice, slice]) -> Ring:
    """Return a ring of a window of a mask in the coordinates of the mask."""
    rows, columns = window
    return ring + np.array([columns.start or 0, rows.start or 0], np.int32)


def edges(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return the lines between a mask and its surroundings, along the edges of pixels.

    Args:
        mask: [H, W].

    Returns:
        The outlines of the parts and of their holes.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    # One pixel of an object and the edges that meet at one of its corners: a corner of the line is
    # where a horizontal and a vertical edge meet. Where two pixels touch diagonally, two lines do.
    total = above_left + above_right + below_left + below_right
    left, right = above_left != below_left, above_right != below_right
    up, down = above_left != above_right, below_left != below_right
    corners = []
    for horizontal, to_right in ((left, 0), (right, 1)):
        for vertical, to_below in ((up, 0), (down, 1)):
            bend = horizontal & vertical & (total % 2 == 1)
            inside = ((above_left, below_left), (above_right, below_right))[to_right][to_below]
            touching = horizontal & vertical & (total == 2) & left & right & (inside == 1)
            y, x = np.nonzero(bend | touching)
            ends = np.full_like(x, to_right), np.full_like(x, to_below)
            corners.append(np.stack([x, y, *ends], axis=1))
    x, y, to_right, to_below = np.concatenate(corners).T
    # In a row of corners, the first and the second are the ends of an edge, the third and the
    # fourth, and so on; so in a column.
    along_x = np.lexsort((to_right, x, y))
    along_y = np.lexsort((to_below, y, x))
    beside, across = np.empty_like(x), np.empty_like(x)
    beside[along_x] = along_x.reshape(-1, 2)[:, ::-1].reshape(-1)
    across[along_y] = along_y.reshape(-1, 2)[:, ::-1].reshape(-1)
    return [
        np.stack([x[ring], y[ring]], axis=1).astype(np.int32) for ring in _cycles(beside, across)
    ]


def _cycles(beside: NDArray[np.int64], across: NDArray[np.int64]) -> list[list[int]]:
    """Follow horizontal and vertical edges in turn until each line is closed."""
    horizontal, vertical = beside.tolist(), across.tolist()
    remaining = set(range(len(horizontal)))
    cycles = []
    while remaining:
        start = at = min(remaining)
        cycle = []
        while True:
            after = horizontal[at]
            cycle += [at, after]
            remaining -= {at, after}
            at = vertical[after]
            if at == start:
                break
        cycles.append(cycle)
    return cycles
