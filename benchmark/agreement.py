# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Agreement of the masks of several runtimes and precisions, on real footage.

    python -m benchmark.agreement --data DIR [--runtimes onnxruntime:fp32 openvino:fp32 ...]
                                  [--model NAME] [--doc docs/performance.md]

DIR is a folder like DAVIS (`JPEGImages`, `Annotations`). Every runtime tracks every sequence
from a mask, a box and a click, with its own memories. The IoU is taken for each object of each
frame, including the prompted one; that of two empty masks is 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmark.document import publish, table
from tam_ros.evaluation.dataset import open_dataset
from tam_ros.evaluation.jaccard import region_similarity
from tam_ros.evaluation.prompts import KINDS
from tam_ros.evaluation.runner import evaluate_sequence
from tam_ros.tracking import FrameResult, Prompt, Tracker

RUNTIMES = ('onnxruntime:fp32', 'openvino:fp32', 'openvino:bf16')
LIMIT = 0.99
"""Lowest mean IoU of a sequence for a precision that `auto` may select."""


class Together:
    """Several trackers with the same inputs; the result is that of the first one.

    Attributes:
        ious: for each other tracker, the IoUs of its masks with those of the first one.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers
        self.reset()

    def reset(self) -> None:
        """Reset all trackers, and discard the IoUs."""
        self.ious: list[list[float]] = [[] for _ in self._trackers[1:]]
        for tracker in self._trackers:
            tracker.reset()

    def step(self, image: np.ndarray, stamp: float, prompts: list[Prompt]) -> FrameResult:
        """Track in the next image, and compare."""
        first, *others = (tracker.step(image, stamp, prompts) for tracker in self._trackers)
        for ious, other in zip(self.ious, others, strict=True):
            ious += [
                region_similarity(one.mask, two.mask)
                for one, two in zip(first.objects, other.objects, strict=True)
            ]
        return first


def open_tracker(model: str, weights: str | None, runtime: str, threads: int | None) -> Tracker:
    """Open `RUNTIME:PRECISION`."""
    name, _, precision = runtime.partition(':')
    return Tracker.open(model, weights, name, threads=threads, precision=precision or 'auto')


def cell(ious: Sequence[float]) -> str:
    """Format the mean, and the lowest of all frames."""
    return f'{np.mean(ious):.4f} ({min(ious):.3f})'


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--sequences', nargs='+', default=[], metavar='NAME')
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--weights')
    parser.add_argument(
        '--runtimes',
        nargs='+',
        default=RUNTIMES,
        metavar='RUNTIME:PRECISION',
        help='the others are compared with the first one',
    )
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=list(KINDS))
    parser.add_argument('--threads', type=int)
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    others = args.runtimes[1:]
    everything: list[list[list[float]]] = [[[] for _ in args.kinds] for _ in others]
    lowest = [1.0 for _ in others]
    rows = []
    with ExitStack() as stack:
        together = Together(
            [
                stack.enter_context(open_tracker(args.model, args.weights, runtime, args.threads))
                for runtime in args.runtimes
            ]
        )
        for sequence in open_dataset(args.data, args.sequences):
            cells = {}
            for k, kind in enumerate(args.kinds):
                evaluate_sequence(together, sequence, kind)
                for index, ious in enumerate(together.ious):
                    cells[index, k] = cell(ious)
                    everything[index][k] += ious
                    lowest[index] = min(lowest[index], float(np.mean(ious)))
            rows.append([sequence.name, *(cells[key] for key in sorted(cells))])
    rows.append(['**all**', *(f'**{cell(ious)}**' for row in everything for ious in row)])
    heads = [
        'sequence',
        *(f'{other.replace(":", " ")}, {kind}' for other in others for kind in args.kinds),
    ]
    notes = []
    for other, of, low in zip(others, everything, lowest, strict=True):
        joined = np.concatenate(of)
        notes.append(
            f'`{other}`: {np.count_nonzero(joined < LIMIT)} of {len(joined)} masks below '
            f'{LIMIT}; the lowest sequence mean is {low:.4f}.'
        )
    text = '\n\n'.join(
        [
            table(heads, rows),
            f'`{args.model}`, compared with `{args.runtimes[0]}`. ' + ' '.join(notes),
        ]
    )
    publish(text, 'agreement', args.doc)


if __name__ == '__main__':
    main()
