# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a model on real footage, compared with baselines without a model.

    python -m benchmark.accuracy --data DIR [--doc docs/performance.md]

DIR is a folder like DAVIS (`JPEGImages`, `Annotations`) with `floors.json`: J&F of the true first
mask left in place, and of that mask warped by DIS optical flow.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from benchmark.document import publish, table
from tam_ros.evaluation import report
from tam_ros.evaluation.dataset import TruthSequence, open_dataset
from tam_ros.evaluation.prompts import KINDS
from tam_ros.evaluation.runner import evaluate_sequence
from tam_ros.tracking import Tracker

DAVIS = ('blackswan', 'bmx-trees', 'car-shadow', 'dog', 'horsejump-high', 'kite-surf')
COMPOSITES = ('comp-blackswan-dog', 'comp-car-shadow-horse-gap')
FLOORS = ('static', 'dis_flow')
PREDICTED = 'Predictions_osvos'


class StoredMasks:
    """A tracker whose masks are files: the results of another method.

    The files do not distinguish objects, so they are those of one object.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob('*.png'))
        self._index = 0

    def reset(self) -> None:
        """Return to the first frame."""
        self._index = 0

    def step(self, image, stamp, prompts):
        """Return the masks of the next frame."""
        labels = (np.asarray(Image.open(self._paths[self._index])) > 0).astype(np.uint16)
        self._index += 1
        return SimpleNamespace(labels=labels)


def predicted(folder: Path, sequence: TruthSequence) -> float | None:
    """Return J&F of the masks in a folder; None if it does not exist."""
    if not folder.is_dir():
        return None
    return report.mean([evaluate_sequence(StoredMasks(folder), sequence, 'mask')])['J&F']


def cells(scores: dict[str, float]) -> str:
    """Format J&F and, in brackets, J of the last quarter and of the prompted frame."""
    return (
        f'{scores["J&F"]:.3f} ({scores["J_last_quarter"]:.2f}; {scores["J_prompted_frame"]:.2f})'
    )


def measure(tracker: Tracker, data: Path) -> list[list[str]]:
    """Return the rows of the table for a DAVIS-like folder."""
    floors = json.loads((data / 'floors.json').read_text())
    rows = []
    others: list[float] = []
    totals: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for sequence in open_dataset(data, (*DAVIS, *COMPOSITES)):
        row = [sequence.name]
        for kind in KINDS:
            scores = report.mean([evaluate_sequence(tracker, sequence, kind)])
            row.append(cells(scores))
            if sequence.name in DAVIS:
                totals[kind].append(scores)
        row += [f'{floors[sequence.name][floor]["JF_mean"]:.3f}' for floor in FLOORS]
        given = predicted(data / PREDICTED / sequence.name, sequence)
        rows.append([*row, '' if given is None else f'{given:.3f}'])
        if sequence.name in DAVIS and given is not None:
            others.append(given)
        if sequence.name == DAVIS[-1]:
            means = [
                cells(
                    {
                        name: float(np.mean([one[name] for one in totals[kind]]))
                        for name in totals[kind][0]
                    }
                )
                for kind in KINDS
            ]
            low = [
                f'{np.mean([floors[name][floor]["JF_mean"] for name in DAVIS]):.3f}'
                for floor in FLOORS
            ]
            other = f'{np.mean(others):.3f}' if len(others) == len(DAVIS) else ''
            rows.append(['**mean of the six**', *(f'**{mean}**' for mean in means), *low, other])
    return rows


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--weights')
    parser.add_argument('--runtime', default='onnxruntime')
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    with Tracker.open(args.model, args.weights, args.runtime) as tracker:
        rows = measure(tracker, args.data)
    heads = [
        'sequence',
        *(f'from a {kind}' for kind in KINDS),
        'first mask left in place',
        'warped by optical flow',
        'OSVOS',
    ]
    publish(table(heads, rows), 'accuracy', args.doc)


if __name__ == '__main__':
    main()
