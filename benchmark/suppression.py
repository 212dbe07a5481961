# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How long suppression takes, beside a plain loop over pairs of boxes.

    python -m benchmark.suppression --doc docs/detection.md

The scenes are crowds: for every ten boxes one person, whose boxes differ by a tenth of its size,
in an image whose area grows with the number of people. The plain loop is greedy suppression with
one comparison of two boxes at a time; its result is compared with that of `greedy`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.document import publish, table
from tam_ros.detection.suppression import METHODS, suppress
from tam_ros.evaluation.timing import machine

SPACE = 120.0  # pixels of the image's side for each person, in both directions
HEIGHT, WIDTH = 120.0, 50.0  # of a person, pixels
PER_PERSON = 10
JITTER = 0.1  # standard deviation of a corner, in heights


def crowd(
    count: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes [N, 4], scores [N], and the boxes and probabilities of their neighbours."""
    random = np.random.default_rng(seed)
    people = max(1, count // PER_PERSON)
    corners = random.uniform(0, SPACE * people**0.5, (people, 2))
    truth = np.concatenate([corners, corners + (WIDTH, HEIGHT)], 1)
    which = np.arange(count) % people
    boxes = truth[which] + random.normal(scale=JITTER * HEIGHT / 2, size=(count, 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 4)
    scores = random.uniform(0.05, 1, count)
    nearest = np.argsort(np.abs(corners[:, None] - corners[None]).sum(2), 1)[:, min(1, people - 1)]
    chances = random.uniform(0, 0.6, count)
    return (
        boxes.astype(np.float32),
        scores.astype(np.float32),
        truth[nearest[which]].astype(np.float32),
        chances.astype(np.float32),
    )


def plain_greedy(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], iou: float = 0.5
) -> list[int]:
    """Return the boxes that greedy suppression keeps, by a loop over pairs."""
    rows: list[list[float]] = boxes.astype(np.float64).tolist()
    areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in rows]
    kept: list[int] = []
    for index in np.argsort(-scores, kind='stable').tolist():
        x0, y0, x1, y1 = rows[index]
        for other in kept:
            a, b, c, d = rows[other]
            width, height = min(x1, c) - max(x0, a), min(y1, d) - max(y0, b)
            if width > 0 and height > 0:
                shared = width * height
                if shared / (areas[index] + areas[other] - shared) > iou:
                    break
        else:
            kept.append(index)
    return kept


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--boxes', type=int, nargs='+', default=[100, 1000, 5000])
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    scenes = [crowd(count) for count in args.boxes]
    rows = []
    for method in METHODS:
        cells = []
        for boxes, scores, *neighbours in scenes:
            given = (neighbours[0], neighbours[1]) if method in ('adaptive', 'noh') else None

            def call(boxes=boxes, scores=scores, method=method, given=given):
                return suppress(boxes, scores, method, neighbours=given)

            cells.append(f'{milliseconds(call, args.repeats):.1f} ms, {len(call()[0])}')
        rows.append([f'`{method}`', *cells])
    cells = []
    for boxes, scores, *_ in scenes:
        kept = plain_greedy(boxes, scores)
        found, _ = suppress(boxes, scores)
        if kept != found.tolist():
            raise SystemExit('the plain loop and `greedy` keep other boxes')
        took = milliseconds(lambda b=boxes, s=scores: plain_greedy(b, s), args.repeats)  # type: ignore[misc]
        cells.append(f'{took:.1f} ms, {len(kept)}')
    rows.append(['plain loop, greedy', *cells])
    heads = ['method', *(f'{count} boxes' for count in args.boxes)]
    text = (
        f'`python -m benchmark.suppression`, {machine()}; median time, and how many boxes are '
        f'kept:\n\n{table(heads, rows)}'
    )
    publish(text, 'suppression', args.doc)


if __name__ == '__main__':
    main()
