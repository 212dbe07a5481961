# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""People who cross: which suppression loses or swaps fewer of them.

    python -m benchmark.crossing --doc docs/detection.md

A drawn scene without images: people walk past each other at slightly different distances, and a
detector reports each of them several times, jittered; who is hidden by somebody nearer gets lower
scores. What a suppression keeps is followed by a plain tracker of boxes with constant velocity, so
that the numbers are those of the suppression. `noh` gets the boxes that this tracker predicts as
neighbours (`tam_ros.detection.neighbours`). Two boxes of one person then keep two tracks alive, so
tracks that stay in the same place are joined. The constants were chosen on the seeds 0 to 9; the
table is about others.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.document import publish, table
from tam_ros.detection.neighbours import tracked_neighbours
from tam_ros.detection.suppression import overlaps, suppress

WIDTH, FRAMES, PEOPLE = 960.0, 150, 8
SIZE = np.array([50.0, 130.0])  # of a person, pixels
REPORTS = 6  # of a detector for each person
JITTER = 0.05  # standard deviation of the corners, in sizes
HIDDEN = 0.25  # how much lower the scores of a hidden person are
CONFIDENT = 0.4  # scores from which a detection is used
MATCH = 0.3  # IoU from which a detection is a track
KNOWN = 0.4  # IoU from which a detection is not a new track
TOGETHER = 0.3  # IoU from which two people cannot be told apart by their boxes
SAME, LONGEST = 0.75, 12  # IoU and frames from which two tracks are one
GAIN, SPEED_GAIN = 0.4, 0.05  # of the tracker, for positions and speeds
PATIENCE = 5  # frames without a detection after which a track ends
METHODS = ('greedy', 'fast', 'soft_linear', 'soft_gaussian', 'noh')

_Boxes = NDArray[np.float64]


class Scene(NamedTuple):
    """Where people are, and what a detector reports.

    Attributes:
        truth: [frames, people, 4].
        boxes: of each frame, [reports, 4].
        scores: of each frame, [reports].
    """

    truth: _Boxes
    boxes: list[_Boxes]
    scores: list[NDArray[np.float64]]


def scene(seed: int) -> Scene:
    """Draw a scene: half of the people walk to the right, half to the left."""
    random = np.random.default_rng(seed)
    speed = random.uniform(3, 6, PEOPLE) * np.where(np.arange(PEOPLE) % 2, -1, 1)
    start = np.where(speed > 0, random.uniform(0, 350, PEOPLE), random.uniform(610, 960, PEOPLE))
    depth = random.uniform(0, 12, PEOPLE)  # pixels lower in the image: nearer
    size = SIZE * (1 + depth[:, None] / 150)
    time = np.arange(FRAMES)[:, None]
    feet = np.stack([start + speed * time, np.tile(200 + depth, (FRAMES, 1))], 2)
    low = feet - size * (0.5, 1.0)
    truth = np.concatenate([low, low + size], 2)
    boxes, scores = [], []
    for frame in truth:
        shared = overlaps(frame, frame) * (depth[:, None] < depth[None])
        base = random.uniform(0.8, 0.95, PEOPLE) - HIDDEN * (shared.max(1) > 0.3)
        noise = random.normal(scale=JITTER, size=(REPORTS, PEOPLE, 4)) * np.tile(size, 2)
        boxes.append((frame + noise).reshape(-1, 4))
        # The better a report fits, the higher its score is.
        miss = np.abs(noise / np.tile(size, 2)).mean(2)
        scores.append(np.clip(base - miss, 0.05, 1).reshape(-1))
    return Scene(truth, boxes, scores)


@dataclass
class Track:
    """A box that moves with constant velocity."""

    number: int
    box: _Boxes
    speed: _Boxes = field(default_factory=lambda: np.zeros(4))
    missed: int = 0
    doubled: int = 0
    age: int = 0

    def predicted(self) -> _Boxes:
        """Return the box on the next frame."""
        return self.box + self.speed

    def seen(self, box: _Boxes) -> None:
        """Correct the track with a detection; the speed is known after a few of them."""
        away = box - self.predicted()
        self.age += 1
        self.box = self.predicted() + max(GAIN, 1 / self.age) * away
        self.speed = self.speed + max(SPEED_GAIN, 1 / (self.age + 1) ** 2) * away
        self.missed = 0

    def unseen(self) -> None:
        """Go on without a detection."""
        self.box, self.missed = self.predicted(), self.missed + 1


class Outcome(NamedTuple):
    """What became of the people.

    Attributes:
        lost: frames on which a person who is in sight has no track.
        changes: how often a person who is apart from the others had another track than before.
        ids: tracks that were started.
        frames: on which people are in sight, for comparison.
    """

    lost: int
    changes: int
    ids: int
    frames: int


def follow(drawn: Scene, method: str) -> Outcome:
    """Suppress, follow, and compare with the truth."""
    tracks: list[Track] = []
    started = lost = changes = frames = 0
    owner: dict[int, int] = {}  # the track that each person had last
    for truth, boxes, scores in zip(*drawn, strict=True):
        predicted = np.array([track.predicted() for track in tracks]).reshape(-1, 4)
        neighbours = tracked_neighbours(_ordered(boxes), predicted) if method == 'noh' else None
        kept, values = suppress(_ordered(boxes), scores, method, 0.5, neighbours)
        found = _ordered(boxes)[kept[values >= CONFIDENT]]
        pairs = _assign(overlaps(predicted, found))
        for index, track in enumerate(tracks):
            if index in pairs:
                track.seen(found[pairs[index]])
            else:
                track.unseen()
        # As in the node, a detection that overlaps a track is no new object.
        at = np.array([track.box for track in tracks]).reshape(-1, 4)
        new = np.flatnonzero(overlaps(found, at).max(1, initial=0) < KNOWN)
        for index in sorted({*new.tolist()} - {*pairs.values()}):
            started += 1
            tracks.append(Track(started, found[index]))
        tracks = _without_doubles([track for track in tracks if track.missed <= PATIENCE])
        shown = [track for track in tracks if not track.missed]
        at = np.array([track.box for track in shown]).reshape(-1, 4)
        visible = (truth[:, 2] > 0) & (truth[:, 0] < WIDTH)
        whose = _assign(overlaps(truth, at) * visible[:, None])
        together = (overlaps(truth, truth) - np.eye(len(truth))).max(1) > TOGETHER
        for person in np.flatnonzero(visible).tolist():
            frames += 1
            if person not in whose:
                lost += 1
                continue
            if together[person]:  # whose box is whose is not defined
                continue
            number = shown[whose[person]].number
            changes += owner.setdefault(person, number) != number
            owner[person] = number
    return Outcome(lost, changes, started, frames)


def _without_doubles(tracks: list[Track]) -> list[Track]:
    """Leave out tracks that have been where an older one is for longer than people who pass."""
    at = np.array([track.box for track in tracks]).reshape(-1, 4)
    shared = np.triu(overlaps(at, at), 1).max(0, initial=0)
    for track, overlap in zip(tracks, shared.tolist(), strict=True):
        track.doubled = track.doubled + 1 if overlap > SAME else 0
    return [track for track in tracks if track.doubled <= LONGEST]


def _ordered(boxes: _Boxes) -> _Boxes:
    return np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:] - 1), np.maximum(boxes[:, 2:], boxes[:, :2] + 1)], 1
    )


def _assign(shared: _Boxes) -> dict[int, int]:
    """Pair rows with columns, the largest overlap first."""
    pairs: dict[int, int] = {}
    left = shared.copy()
    while left.size and left.max() >= MATCH:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        pairs[int(row)] = int(column)
        left[row], left[:, column] = 0, 0
    return pairs


def main(argv: list[str] | None = None) -> None:
    """Run the scenes and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--scenes', type=int, default=20)
    parser.add_argument('--first', type=int, default=100, help='seed of the first scene')
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    scenes = [scene(args.first + number) for number in range(args.scenes)]
    rows = []
    for method in METHODS:
        found = [follow(one, method) for one in scenes]
        lost, changes, ids, frames = (sum(values) for values in zip(*found, strict=True))
        rows.append([f'`{method}`', f'{lost / frames:.1%}', f'{changes}', f'{ids}'])
    people = PEOPLE * args.scenes
    heads = ['suppression', 'frames on which a person has no track', 'changes of ids', 'ids']
    text = (
        f'`python -m benchmark.crossing`: {args.scenes} scenes, {people} people in all, IoU 0.5; '
        f'{people} ids and no change would be right:\n\n{table(heads, rows)}'
    )
    publish(text, 'crossing', args.doc)


if __name__ == '__main__':
    main()
