# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Effect of occluded frames in the memory bank: stored, or skipped.

    python -m benchmark.occlusion --data DIR [--doc docs/performance.md]

A composite in which an object is absent for ten frames, the sequence with the strongest
occlusions, and drawn clips whose objects leave and return (`training.render`), tracked with
`skip_occluded_memories` off and on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.document import publish, table
from tam_ros.evaluation import report
from tam_ros.evaluation.dataset import TruthSequence, open_dataset
from tam_ros.evaluation.runner import evaluate_sequence
from tam_ros.tracking import Tracker, TrackerOptions

SEQUENCES = ('comp-car-shadow-horse-gap', 'bmx-trees')


def vanishing(folder: Path) -> Iterator[TruthSequence]:
    """Yield the held-out drawn clips, with the objects that disappear and return."""
    from training.evaluate import Clip, held_out

    for clip in held_out(folder):
        assert isinstance(clip, Clip)
        numbers = [number for number in np.unique(clip.labels[0]).tolist() if number]
        seen = np.stack([(clip.labels == number).any((1, 2)) for number in numbers])
        back = [
            number
            for number, row in zip(numbers, seen, strict=True)
            if not row.all() and row[np.flatnonzero(~row)[0] :].any()
        ]
        if back:
            labels = np.where(np.isin(clip.labels, back), clip.labels, 0)
            yield Clip(clip.name, clip.images, labels)


def measure(
    sequences: list[TruthSequence], model: str, weights: str | None, kind: str
) -> dict[bool, list[dict[str, float]]]:
    """Return the scores of each sequence, without and with the policy."""
    scores: dict[bool, list[dict[str, float]]] = {}
    for skip in (False, True):
        options = TrackerOptions(skip_occluded_memories=skip)
        with Tracker.open(model, weights, options=options) as tracker:
            scores[skip] = [
                report.mean([evaluate_sequence(tracker, sequence, kind)]) for sequence in sequences
            ]
    return scores


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True, help='DAVIS-like folder')
    parser.add_argument('--clips', type=Path, help='folder of training.render, for drawn clips')
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--weights')
    parser.add_argument('--prompt', default='mask')
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    groups: dict[str, list[TruthSequence]] = {
        sequence.name: [sequence] for sequence in open_dataset(args.data, SEQUENCES)
    }
    if args.clips:
        clips = list(vanishing(args.clips))
        groups[f'{len(clips)} drawn clips whose objects leave and return'] = clips
    rows = []
    for name, sequences in groups.items():
        found = measure(sequences, args.model, args.weights, args.prompt)
        cells = [
            f'{np.mean([one[what] for one in found[skip]]):.3f}'
            for what in ('J&F', 'J_last_quarter')
            for skip in (False, True)
        ]
        rows.append([name, *cells])
    heads = [
        'sequence',
        'J&F, stored',
        'J&F, skipped',
        'J of the last quarter, stored',
        'skipped',
    ]
    publish(table(heads, rows), 'occlusion', args.doc)


if __name__ == '__main__':
    main()
