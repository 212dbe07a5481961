# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Scores of a model through the public tracker: real videos, drawn clips, the demo clip.

    python -m training.evaluate --data DIR --clips training/out/clips --weights last.pt

Rules and measures are those of `tam eval` (`tam_ros.evaluation`): prompts are made from the
truth of the first frame, which does not count, as the last does not.  Nothing that is evaluated
here was trained or tuned on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tam_ros.evaluation import report
from tam_ros.evaluation.dataset import TruthFrame, TruthSequence, open_dataset
from tam_ros.evaluation.prompts import KINDS
from tam_ros.evaluation.runner import TrackerLike, evaluate_sequence
from tam_ros.tracking import Tracker

DAVIS = ('blackswan', 'bmx-trees', 'car-shadow', 'dog', 'horsejump-high', 'kite-surf')
SETS = ('davis', 'footage', 'clips', 'demo')
COLUMNS = {'jf': 'J&F', 'j': 'J', 'f': 'F', 'j_last': 'J last quarter', 'j_0': 'J frame 0'}
LONGEST_TABLE = 12  # sequences; of more, only the means are shown

Results = dict[str, dict[str, dict[str, float]]]


@dataclass
class Clip:
    """A sequence in memory.

    Attributes:
        name: for the table.
        images: uint8 RGB [T, H, W, 3].
        labels: uint8 [T, H, W], 0 = background.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Return T."""
        return len(self.images)

    def __iter__(self) -> Iterator[TruthFrame]:
        """Give the frames."""
        for image, labels in zip(self.images, self.labels, strict=True):
            yield TruthFrame(np.ascontiguousarray(image), labels)


@dataclass
class Video:
    """A sequence of image files.

    Attributes:
        name: for the table.
        paths: of the images.
        labels: of each image, see `TruthFrame`.
    """

    name: str
    paths: list[Path]
    labels: list[np.ndarray | None]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.paths)

    def __iter__(self) -> Iterator[TruthFrame]:
        """Give the frames."""
        for path, labels in zip(self.paths, self.labels, strict=True):
            yield TruthFrame(np.asarray(Image.open(path).convert('RGB')), labels)


@dataclass
class Beginning:
    """The first frames of a sequence."""

    sequence: TruthSequence
    frames: int

    @property
    def name(self) -> str:
        """Name of the sequence."""
        return self.sequence.name

    def __len__(self) -> int:
        """Return the number of frames."""
        return min(self.frames, len(self.sequence))

    def __iter__(self) -> Iterator[TruthFrame]:
        """Give the frames."""
        return islice(iter(self.sequence), self.frames)


def davis(data: Path, limit: int | None = None) -> Iterator[TruthSequence]:
    """The six sequences, or the first frames of each."""
    for sequence in open_dataset(data, DAVIS):
        yield Beginning(sequence, limit or len(sequence))


def footage(data: Path, limit: int | None = None) -> Iterator[TruthSequence]:
    """Real videos that were not trained on, two or three images a second, with our own masks."""
    from training.sources import annotated_videos, chosen_frames, video_of

    for name, frames in annotated_videos(data, 'val').items():
        first = next(i for i, frame in enumerate(frames) if frame is not None)
        paths = [path for path in chosen_frames(data, 'val') if video_of(path) == name]
        yield Video(
            name,
            paths[first:limit],
            [None if frame is None else frame.labels for frame in frames[first:limit]],
        )


def held_out(folder: Path, limit: int | None = None, frames: int = 20) -> Iterator[TruthSequence]:
    """Yield clips rendered from held-out images and videos, with their promptable objects."""
    from training.clips import ClipStore, promptable

    store = ClipStore(folder, 'val')
    for index in range(min(len(store), limit or len(store))):
        images, labels = (x[:frames] for x in store.clip(index))
        objects = [int(v) for v in promptable(labels[0])]
        yield Clip(f'clip {index}', images, np.where(np.isin(labels, objects), labels, 0))


def demo(limit: int | None = None) -> Iterator[TruthSequence]:
    """The clip that `make demo` shows."""
    from tam_ros.demo.scene import DemoScene

    scene = DemoScene()
    count = min(scene.frames, limit or scene.frames)
    images, labels = zip(*(scene.frame(index) for index in range(count)), strict=True)
    yield Clip('demo', np.stack(images), np.stack(labels))


def score(tracker: TrackerLike, sequence: TruthSequence, kind: str) -> dict[str, float]:
    """Track a sequence from one kind of prompt.

    Returns:
        Means over objects of J ('j'), F ('f') and both ('jf'), of J in the last quarter
        ('j_last') and on the prompted frame ('j_0'); and the median time of a frame ('ms').
    """
    scores = evaluate_sequence(tracker, sequence, kind)
    found = report.mean([scores])
    return {
        'j': found['J'],
        'f': found['F'],
        'jf': found['J&F'],
        'j_last': found['J_last_quarter'],
        'j_0': found['J_prompted_frame'],
        'ms': 1e3 * float(np.median(scores.step_seconds)),
    }


def evaluate(
    tracker: TrackerLike,
    sequences: list[TruthSequence],
    kinds: tuple[str, ...] = KINDS,
) -> Results:
    """Scores by sequence and prompt kind."""
    return {
        sequence.name: {kind: score(tracker, sequence, kind) for kind in kinds}
        for sequence in tqdm(sequences, unit='sequence')
    }


def mean(results: Results, kind: str, name: str) -> float:
    """Mean over sequences."""
    return float(np.mean([row[kind][name] for row in results.values()]))


def table(title: str, results: Results, floors: dict[str, dict] | None = None) -> str:
    """Markdown table of results, a line for each sequence and prompt; floors are J&F."""
    floor_names = ('static', 'dis_flow') if floors else ()
    heads = [title, 'prompt', *COLUMNS.values(), *floor_names, 'ms']
    lines = ['| ' + ' | '.join(heads) + ' |', '| ' + ' | '.join('---' for _ in heads) + ' |']

    def row(name: str, kind: str, scores: dict[str, float], floor: list[float]) -> None:
        cells = [f'{scores[column]:.3f}' for column in COLUMNS] + [f'{v:.3f}' for v in floor]
        lines.append('| ' + ' | '.join([name, kind, *cells, f'{scores["ms"]:.0f}']) + ' |')

    floor_of = {
        name: [floors[name][key]['JF_mean'] for key in floor_names] if floors else []
        for name in results
    }
    if len(results) <= LONGEST_TABLE:
        for name, by_kind in results.items():
            for kind, scores in by_kind.items():
                row(name, kind, scores, floor_of[name])
    if len(results) > 1:
        floor = np.mean(list(floor_of.values()), 0).tolist() if floors else []
        for kind in next(iter(results.values())):
            scores = {column: mean(results, kind, column) for column in (*COLUMNS, 'ms')}
            row(f'mean of {len(results)}', kind, scores, floor)
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
    """Evaluate weights and print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, help='folder with JPEGImages and Annotations')
    parser.add_argument('--clips', type=Path, default=Path('training/out/clips'))
    parser.add_argument('--weights', type=Path, help='checkpoint or graphs; else the bundled')
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--runtime', default='torch')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--only', nargs='+', choices=SETS, default=list(SETS))
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=list(KINDS))
    parser.add_argument('--limit', type=int, help='frames of a video; number of drawn clips')
    parser.add_argument('--out', type=Path, help='write all scores to this JSON file')
    args = parser.parse_args(argv)
    if args.data is None and {'davis', 'footage'} & set(args.only):
        parser.error('davis and footage need --data')
    tracker = Tracker.open(
        args.model, weights=args.weights, runtime=args.runtime, threads=args.threads
    )
    results = {}
    for name in args.only:
        floors = None
        if name == 'davis':
            sequences = list(davis(args.data, args.limit))
            floors = json.loads((args.data / 'floors.json').read_text())
        elif name == 'footage':
            sequences = list(footage(args.data, args.limit))
        elif name == 'clips':
            sequences = list(held_out(args.clips, args.limit))
        else:
            sequences = list(demo(args.limit))
        results[name] = evaluate(tracker, sequences, tuple(args.kinds))
        print(f'\n{table(name, results[name], floors)}\n', flush=True)
    if args.out:
        args.out.write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
