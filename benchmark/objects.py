# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Time of a step against the number of objects: one batch, and a loop of batches of one.

    python -m benchmark.objects [--doc docs/performance.md]

Both take turns in one process, so that other load on the machine affects both. The loop has one
tracker for each object and runs the image encoder once for all of them, as the official code does.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmark.document import publish, table
from tam_ros.evaluation.synthetic import MovingDiscs
from tam_ros.evaluation.timing import boxes_on_a_grid, machine
from tam_ros.loading import open_runtime
from tam_ros.runtime.base import Features, Runtime
from tam_ros.tracking import Prompt, Tracker, TrackerOptions

COUNTS = (1, 2, 5, 10)
WARM_UP = 16  # steps until every bank is full


class SharedEncoder:
    """A runtime that shares the encoded image with other trackers, and nothing else."""

    def __init__(self, runtime: Runtime, encoded: dict[int, Features]) -> None:
        self._runtime, self._encoded = runtime, encoded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def image_encoder(self, image: np.ndarray) -> Features:
        """Encode an image unless another tracker has encoded it."""
        key = hash(image.tobytes())
        if key not in self._encoded:
            self._encoded.clear()
            self._encoded[key] = self._runtime.image_encoder(image)
        return self._encoded[key]


def measure(
    model: str, weights: str | None, runtime: str, threads: int | None, objects: int, steps: int
) -> tuple[float, float]:
    """Return median seconds of a step for all objects: batched, and one after another."""
    size = (480, 640)
    images = MovingDiscs(objects, size)
    prompts = boxes_on_a_grid(objects, size)
    batched = Tracker.open(
        model, weights, runtime, threads=threads, options=TrackerOptions(max_objects=objects)
    )
    encoded: dict[int, Features] = {}
    single = [
        Tracker(
            cast(Runtime, SharedEncoder(open_runtime(model, weights, runtime, threads), encoded)),
            TrackerOptions(max_objects=1),
        )
        for _ in range(objects)
    ]
    batch_times, loop_times = [], []
    for index in range(WARM_UP + steps):
        image, _ = images.frame(index)
        given: list[Prompt] = prompts if index == 0 else []
        begin = time.perf_counter()
        batched.step(image, index / 10, given)
        middle = time.perf_counter()
        for number, tracker in enumerate(single):
            tracker.step(image, index / 10, given[number : number + 1])
        end = time.perf_counter()
        if index >= WARM_UP:
            batch_times.append(middle - begin)
            loop_times.append(end - middle)
    return float(np.median(batch_times)), float(np.median(loop_times))


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--weights')
    parser.add_argument('--runtime', default='onnxruntime')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--steps', type=int, default=40)
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    rows = []
    first = None
    for count in COUNTS:
        batch, loop = measure(
            args.model, args.weights, args.runtime, args.threads, count, args.steps
        )
        first = first or batch
        rows.append(
            [
                str(count),
                f'{1e3 * batch:.0f}',
                f'{batch / first:.2f}',
                f'{1e3 * loop:.0f}',
                f'{loop / batch:.2f}',
            ]
        )
    heads = [
        'objects',
        'one batch, ms',
        'relative to one object',
        'one by one, ms',
        'relative to the batch',
    ]
    note = f'\n\n`{args.model}`, {args.runtime}, {machine()}.'
    publish(table(heads, rows) + note, 'objects', args.doc)


if __name__ == '__main__':
    main()
