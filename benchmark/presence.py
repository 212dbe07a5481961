# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Masks of objects that are not there, and what hiding them costs.

    python -m benchmark.presence --data DAVIS_FOLDER --shares 0 0.4 0.5

In the away clips, a window of the image looks at the object for ten frames and then turns away, so
that the object is out of sight for most of the clip. Each is prompted with its true mask. The
price is J and F on the sequences as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmark.document import publish, table
from tam_ros.evaluation import report
from tam_ros.evaluation.dataset import TruthSequence, open_dataset
from tam_ros.evaluation.runner import evaluate_sequence
from tam_ros.evaluation.timing import machine
from tam_ros.tracking import Prompt, Tracker, TrackerOptions

WINDOW = (240, 300)  # height and width, pixels
LENGTH = 90  # frames of an away clip
LOOKS = 10  # frames that the window stays on the object
TURNS = 12  # frames in which it turns away


class Presence(NamedTuple):
    """Frames of the away clips.

    Attributes:
        absent: frames on which the object is not in the image.
        masks: those of them on which it has a mask.
    """

    absent: int
    masks: int


def away(
    sequence: TruthSequence,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Yield the images [240, 300, 3] and truth [240, 300] of a clip that turns away.

    A sequence that is too short is shown backwards after its end.
    """
    frames = [(image, labels == 1) for image, labels in sequence if labels is not None]
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    height, width = WINDOW
    for index in range(LENGTH):
        image, truth = frames[order[index % len(order)]]
        rows, columns = np.nonzero(truth)
        if len(rows):
            middle = rows.mean(), columns.mean()
        else:
            middle = truth.shape[0] / 2, truth.shape[1] / 2
        turned = min(max((index - LOOKS) / TURNS, 0), 1)
        corner = []
        for place, side, full in zip(middle, WINDOW, truth.shape, strict=True):
            far = 0 if place > full / 2 else full - side
            at = (place - side / 2) * (1 - turned) + far * turned
            corner.append(int(np.clip(at, 0, full - side)))
        y, x = corner
        window = slice(y, y + height), slice(x, x + width)
        yield np.ascontiguousarray(image[window]), truth[window]


def false_presence(tracker: Tracker, sequences: Sequence[TruthSequence]) -> Presence:
    """Track the away clips from the true mask of their first frame."""
    absent = masks = 0
    for sequence in sequences:
        tracker.reset()
        for index, (image, truth) in enumerate(away(sequence)):
            prompts = [] if index else [Prompt.mask(1, truth)]
            (found,) = tracker.step(image, index / 10, prompts).objects
            if not truth.any():
                absent += 1
                masks += bool(found.mask.any())
    return Presence(absent, masks)


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True, help='DAVIS-like folder')
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--weights')
    parser.add_argument('--shares', type=float, nargs='+', default=[0.0, 0.5])
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    sequences = list(open_dataset(args.data))
    rows = []
    for share in tqdm(args.shares):
        options = TrackerOptions(hide_below=share)
        with Tracker.open(args.model, args.weights, options=options) as tracker:
            presence = false_presence(tracker, sequences)
            scores = report.mean([evaluate_sequence(tracker, one, 'mask') for one in sequences])
        rows.append(
            [
                f'{share:g}',
                f'{presence.masks} of {presence.absent}',
                *(f'{scores[name]:.3f}' for name in ('J&F', 'J', 'F')),
            ]
        )
    heads = ['hide_below', 'frames with a mask, of those without the object', 'J&F', 'J', 'F']
    text = (
        f'`python -m benchmark.presence`, {args.model}, {machine()}; {len(sequences)} away clips, '
        f'and the same sequences as they are:\n\n{table(heads, rows)}'
    )
    publish(text, 'presence', args.doc)


if __name__ == '__main__':
    main()
