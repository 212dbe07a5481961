# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Suppression: a detector reports each object several times, and one box of each is kept.

All methods but one take the best box, lower the scores of the boxes that overlap it, and go on
with the best of the rest. They differ in the factor, where the intersection over union (IoU) of
the two boxes is above a threshold:

- `greedy`: 0.
- `soft_linear`: 1 - IoU; `soft_gaussian`: exp(-IoU^2 / sigma) (Soft-NMS, arXiv 1704.04503).
- `adaptive`: 0, with a threshold of its own for each best box: the overlap that is expected there,
  if it is higher (Adaptive NMS, arXiv 1904.03629).
- `noh`: how well the box fits the neighbour that the best box is expected to have; 0 if it is
  expected to have none (NOH-NMS, arXiv 2007.13376).

`fast` decides about all boxes at once: a box is dropped if any better box overlaps it, even one
that is itself dropped (Fast NMS of YOLACT, arXiv 1904.02689). It never keeps more than `greedy`.
In crowds it loses people: use another method there.

The rules, their constants and their order are those of the official code of NOH-NMS, which has
all methods but `fast`, and of YOLACT. Its areas have one pixel more in width and height, its
intersections do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.detection.detections import checked_boxes, checked_scores

METHODS = ('greedy', 'fast', 'soft_linear', 'soft_gaussian', 'adaptive', 'noh')
_NORMALIZED = 1.5  # boxes that do not reach beyond this are not in pixels

# Constants of the official NOH-NMS, `detectron2/layers/nms.py` of its repository.
_PROBABLE = 0.3  # from here on a neighbour is expected
_SPREAD = 0.2  # standard deviation of a neighbour's box, in the units of `_deltas`
_IS_NEIGHBOUR = 0.6  # a box with this factor is the expected neighbour itself

_Floats = NDArray[np.float64]
_Index = NDArray[np.int64]
# Called with the position of the best box, those of the boxes it intersects, and their IoUs with
# it; returns the factors of their scores.
_Factors = Callable[[int, _Index, _Floats], _Floats]


class _Neighbours(NamedTuple):
    """The neighbour that each box is expected to have; of `adaptive`, the probability only.

    Attributes:
        boxes: [N, 4].
        probabilities: [N].
    """

    boxes: _Floats
    probabilities: _Floats


def suppress(
    boxes: Any,
    scores: Any,
    method: str = 'greedy',
    iou: float = 0.5,
    neighbours: tuple[Any, Any] | None = None,
    *,
    sigma: float = 0.5,
    min_score: float = 0.01,
    pixel: float | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose one box of each object.

    Args:
        boxes: [N, 4], x0, y0, x1, y1.
        scores: [N]. Of equal scores the first comes first.
        method: one of `METHODS`.
        iou: boxes that overlap more than this are suppressed.
        neighbours: for `noh`, the box [N, 4] of the neighbour that each box is expected to have,
            and its probability [N]. A neighbour without width or height is none. For `adaptive`,
            which uses the probability only, the boxes may be None.
        sigma: of `soft_gaussian`.
        min_score: a box whose score is below this is dropped when it intersects a better one;
            `fast` does not use it.
        pixel: added to width and height for areas. None: 1, as in the official code; 0 for `fast`
            and for normalized boxes, that is if no coordinate is beyond 1.5.

    Returns:
        Positions int64 [M] of the boxes that are kept, and their scores float32 [M], highest
        first.

    Raises:
        ValueError: a box or score is not finite, a box has swapped corners, shapes do not fit, or
            an option is unknown. In the official code such numbers come out as scores.
    """
    wanted = checked_boxes(boxes, 'boxes')
    given = checked_scores(scores, len(wanted))
    if method not in METHODS:
        raise ValueError(f'there is no method {method!r}; choose one of {", ".join(METHODS)}')
    if not 0 <= iou <= 1:
        raise ValueError(f'iou is {iou:g}, not 0 to 1')
    if not sigma > 0:
        raise ValueError(f'sigma is {sigma:g}; it must be above 0')
    if pixel is None:
        pixel = 0.0 if method == 'fast' or np.abs(wanted).max(initial=0) <= _NORMALIZED else 1.0
    if method == 'fast':
        kept = _fast(wanted, given, iou, pixel)
        return kept, given[kept]
    factors = _factors(method, iou, sigma, wanted, neighbours)
    return _one_by_one(wanted, given, factors, min_score, pixel)


def overlaps(a: _Floats, b: _Floats, pixel: float = 0.0) -> _Floats:
    """Return the intersections over union [N, M] of boxes [N, 4] and [M, 4].

    That of two boxes without area is 0.
    """
    # One axis after the other: arrays [N, M, 2] would take ten times as long.
    shared = _shared(a[:, 0], a[:, 2], b[:, 0], b[:, 2])
    shared *= _shared(a[:, 1], a[:, 3], b[:, 1], b[:, 3])
    union = _areas(a, pixel)[:, None] + _areas(b, pixel)
    union -= shared
    return np.divide(shared, union, out=shared, where=union > 0)


def _shared(a0: _Floats, a1: _Floats, b0: _Floats, b1: _Floats) -> _Floats:
    """Return the lengths [N, M] that intervals have in common."""
    length = np.minimum.outer(a1, b1)
    length -= np.maximum.outer(a0, b0)
    shared: _Floats = np.maximum(length, 0, out=length)
    return shared


def _areas(boxes: _Floats, pixel: float) -> _Floats:
    return (boxes[:, 2] - boxes[:, 0] + pixel) * (boxes[:, 3] - boxes[:, 1] + pixel)


def _fast(
    boxes: _Floats, scores: NDArray[np.float32], iou: float, pixel: float, block: int = 256
) -> _Index:
    """Return the boxes that no better one overlaps. Memory grows with `block`, not with N^2."""
    order = np.argsort(-scores, kind='stable')
    boxes = boxes[order]
    highest = np.zeros(len(boxes))  # with any better box
    for start in range(0, len(boxes), block):
        some = slice(start, start + block)
        # One row of better boxes after the other: those before the block, and those in it.
        for first in range(0, start, block):
            part = overlaps(boxes[first : first + block], boxes[some], pixel)
            np.maximum(highest[some], part.max(0), out=highest[some])
        part = np.triu(overlaps(boxes[some], boxes[some], pixel), 1)
        np.maximum(highest[some], part.max(0), out=highest[some])
    return order[highest <= iou]


def _one_by_one(
    boxes: _Floats,
    scores: NDArray[np.float32],
    factors: _Factors,
    min_score: float,
    pixel: float,
) -> tuple[_Index, NDArray[np.float32]]:
    """Take the best box, lower the scores of those that overlap it, and so on."""
    waiting = np.arange(len(boxes))
    score = scores.astype(np.float64)  # -inf: taken or dropped
    sides = np.ascontiguousarray(boxes.T)
    area = _areas(boxes, pixel)
    kept: list[int] = []
    values: list[float] = []
    left = len(boxes)
    while left:
        if 2 * left < len(waiting):  # work with the rest only
            alive = score > -np.inf
            waiting, score, area = waiting[alive], score[alive], area[alive]
            sides = np.ascontiguousarray(sides[:, alive])
        best = int(score.argmax())
        kept.append(int(waiting[best]))
        values.append(float(score[best]))
        score[best] = -np.inf
        left -= 1
        x0, y0, x1, y1 = sides
        width = np.minimum(x1, x1[best]) - np.maximum(x0, x0[best])
        height = np.minimum(y1, y1[best]) - np.maximum(y0, y0[best])
        touched = np.flatnonzero((width > 0) & (height > 0) & (score > -np.inf))
        if not touched.size:
            continue
        shared = width[touched] * height[touched]
        overlap = shared / (area[touched] + area[best] - shared)
        factor = factors(kept[-1], waiting[touched], overlap)
        lowered = score[touched] * factor
        dropped = (factor == 0) | (lowered < min_score)
        score[touched] = np.where(dropped, -np.inf, lowered)
        left -= int(np.count_nonzero(dropped))
    return np.array(kept, np.int64), np.array(values, np.float32)


def _factors(
    method: str, iou: float, sigma: float, boxes: _Floats, neighbours: tuple[Any, Any] | None
) -> _Factors:
    """Return the factors of a method; see the head of this file."""
    if method == 'soft_linear':
        return lambda best, others, overlap: np.where(overlap > iou, 1 - overlap, 1)
    if method == 'soft_gaussian':
        return lambda best, others, overlap: np.where(
            overlap > iou, np.exp(-(overlap**2) / sigma), 1
        )
    if method == 'greedy':
        return lambda best, others, overlap: np.where(overlap > iou, 0, 1)
    expected = _checked_neighbours(method, boxes, neighbours)
    if method == 'adaptive':
        thresholds = np.maximum(expected.probabilities, iou)
        return lambda best, others, overlap: np.where(overlap > thresholds[best], 0, 1)
    return _hallucinated(boxes, expected, iou)


def _hallucinated(boxes: _Floats, expected: _Neighbours, iou: float) -> _Factors:
    """Return the factors of `noh`."""
    is_neighbour = np.zeros(len(boxes), np.bool_)
    size = expected.boxes[:, 2:] - expected.boxes[:, :2]
    own = boxes[:, 2:] - boxes[:, :2]
    expects = (expected.probabilities > _PROBABLE) & (size > 0).all(1) & (own > 0).all(1)

    def factors(best: int, others: _Index, overlap: _Floats) -> _Floats:
        found = np.ones(len(others))
        close = np.flatnonzero(overlap > iou)
        if not close.size:
            return found
        found[close] = 0
        # The neighbour of a box is that box again, which has been taken.
        if expects[best] and not is_neighbour[best]:
            wanted = _deltas(boxes[best], expected.boxes[best : best + 1])
            distance = ((_deltas(boxes[best], boxes[others[close]]) - wanted) ** 2).sum(1)
            found[close] = np.exp(-distance / (2 * _SPREAD**2))
            is_neighbour[others[close[found[close] >= _IS_NEIGHBOUR]]] = True
        return found

    return factors


def _deltas(box: _Floats, others: _Floats) -> _Floats:
    """Return the offsets of upper left corners and the log sizes, relative to a box, [N, 4]."""
    size = box[2:] - box[:2]
    with np.errstate(divide='ignore'):  # without width or height: infinitely far away
        logs = np.log((others[:, 2:] - others[:, :2]) / size)
    return np.concatenate([(others[:, :2] - box[:2]) / size, logs], 1)


def _checked_neighbours(
    method: str, boxes: _Floats, neighbours: tuple[Any, Any] | None
) -> _Neighbours:
    if neighbours is None:
        raise ValueError(f'{method} needs neighbours: their boxes [N, 4] and probabilities [N]')
    theirs, probabilities = neighbours
    if theirs is None and method == 'adaptive':
        theirs = boxes
    array = np.asarray(theirs, np.float64)
    if array.size == 0:
        array = array.reshape(-1, 4)
    if array.shape != boxes.shape:
        raise ValueError(
            f'the boxes of the neighbours have the shape {list(array.shape)}, not '
            f'{list(boxes.shape)}'
        )
    if not np.isfinite(array).all():
        number = int((~np.isfinite(array).all(1)).argmax())
        raise ValueError(
            f'the box {array[number].tolist()} of neighbour {number} is not finite; where no '
            'neighbour is expected give any box and the probability 0'
        )
    chances = checked_scores(probabilities, len(boxes), 'the probabilities of the neighbours')
    return _Neighbours(array, chances.astype(np.float64))
