# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of failures: the worst frames of videos that were not used for training.

    python -m training.failures --data DIR --out docs/images/failures.jpg

The mask of the model is filled with colour, the true outline is white.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tam_ros.drawing.contact_sheet import Tile, contact_sheet
from tam_ros.drawing.overlay import draw_overlay
from tam_ros.evaluation.dataset import TruthSequence
from tam_ros.evaluation.jaccard import region_similarity
from tam_ros.evaluation.prompts import prompt_from_truth
from tam_ros.tracking import Tracker
from training.evaluate import footage


@dataclass
class ScoredFrame:
    """One object on one frame.

    Attributes:
        j: region similarity.
        picture: uint8 RGB [H, W, 3], drawn.
        caption: text below it.
    """

    j: float
    picture: np.ndarray
    caption: str


def scored_frames(tracker: Tracker, sequence: TruthSequence, kind: str) -> Iterator[ScoredFrame]:
    """Track the objects of the first frame; yield each on every frame where it is visible."""
    tracker.reset()
    for index, (image, labels) in enumerate(sequence):
        prompts = []
        if index == 0:
            assert labels is not None
            prompts = [
                prompt_from_truth(kind, number, labels == number)
                for number in np.unique(labels).tolist()
                if number
            ]
        frame = tracker.step(image, index / 10, prompts)
        if labels is None:
            continue
        for item in frame.objects:
            truth = labels == item.id
            if not truth.any():
                continue
            mask = frame.labels == item.id
            alone = np.where(mask, frame.labels, 0).astype(np.uint16)
            picture = draw_overlay(
                image, alone, [one for one in frame.objects if one.id == item.id]
            )
            outline, _ = cv2.findContours(
                truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(picture, outline, -1, (255, 255, 255), 2)
            j = region_similarity(truth, mask)
            yield ScoredFrame(
                j, picture, f'{sequence.name}, from a {kind}, image {index}: J {j:.2f}'
            )


def worst(found: list[ScoredFrame]) -> ScoredFrame:
    """Return the frame at the tenth percentile of J: a typical failure, not an outlier."""
    return sorted(found, key=lambda one: one.j)[len(found) // 10]


def main(argv: list[str] | None = None) -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights')
    args = parser.parse_args(argv)
    tracker = Tracker.open('efficienttam_nano', args.weights)
    tiles = []
    for sequence in footage(args.data):
        for kind in ('mask', 'box', 'click'):
            scored = worst(list(scored_frames(tracker, sequence, kind)))
            tiles.append(Tile(scored.picture, scored.caption))
    sheet = contact_sheet(
        tiles,
        'efficienttam_nano where it fails',
        (
            'The image at the tenth percentile of J in each of three videos that were not trained '
            'on, from three kinds of prompt.',
            'Filled: the model. White: the true outline. Two or three images a second.',
        ),
    )
    cv2.imwrite(str(args.out), sheet[..., ::-1])
    print(args.out)


if __name__ == '__main__':
    main()
