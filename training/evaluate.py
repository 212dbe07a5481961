"""Scores of a model through the public tracker: real video, held-out drawn clips, the demo clip.

    python -m training.evaluate --data DIR --clips training/out/clips --weights last.pt

Prompts are made from the truth of frame 0: the mask, its tight box, or one click at its deepest
point.  Nothing that is evaluated here was trained or tuned on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from tam_ros.evaluation.jaccard import region_similarity
from tam_ros.tracking import Prompt, Tracker

KINDS = ('mask', 'box', 'click')
DAVIS = ('blackswan', 'bmx-trees', 'car-shadow', 'dog', 'horsejump-high', 'kite-surf')
RATE_HZ = 15.0


@dataclass
class Sequence:
    """A sequence with truth.

    Attributes:
        name: for the table.
        images: uint8 RGB [T, H, W, 3].
        labels: uint8 [T, H, W], 0 = background.
        ids: the labels to prompt on frame 0.
        scored: frames whose J counts, besides frame 0, which is reported by itself.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    ids: list[int]
    scored: range


def davis(data: Path, limit: int | None = None) -> Iterator[Sequence]:
    """The six sequences; as in the benchmark, the first and the last frame do not count."""
    for name in DAVIS:
        paths = sorted((data / 'JPEGImages' / name).glob('*.jpg'))[:limit]
        images = np.stack([np.asarray(Image.open(p).convert('RGB')) for p in paths])
        truth = np.stack([np.asarray(Image.open(data / 'Annotations' / name / f'{p.stem}.png'))
                          for p in paths])
        yield Sequence(name, images, (truth > 0).astype(np.uint8), [1], range(1, len(paths) - 1))


def held_out(folder: Path, limit: int | None = None, frames: int = 20) -> Iterator[Sequence]:
    """Drawn clips of pictures and videos that were not trained on."""
    from training.clips import ClipStore, promptable
    store = ClipStore(folder, 'val')
    for index in range(min(len(store), limit or len(store))):
        images, labels = (x[:frames] for x in store.clip(index))
        yield Sequence(f'clip {index}', images, labels, [int(v) for v in promptable(labels[0])],
                       range(1, len(images)))


def demo(limit: int | None = None) -> Iterator[Sequence]:
    """The clip that ``make demo`` shows."""
    from tam_ros.demo.scene import DemoScene
    scene = DemoScene()
    count = min(scene.frames, limit or scene.frames)
    frames = [scene.frame(index) for index in range(count)]
    yield Sequence('demo', np.stack([f[0] for f in frames]), np.stack([f[1] for f in frames]),
                   [1, 2], range(1, count))


def first_prompt(kind: str, number: int, mask: np.ndarray) -> Prompt:
    """The prompt of an object from its mask bool [H, W] on frame 0."""
    if kind == 'mask':
        return Prompt.mask(number, mask)
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    if kind == 'box':
        return Prompt.box(number, (x, y, x + w, y + h))
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return Prompt.points(number, [(float(column - 1), float(row - 1))], labels=[1])


def score(tracker: Tracker, sequence: Sequence, kind: str) -> dict[str, float]:
    """Track a sequence from one kind of prompt.

    Returns:
        Mean J over objects: of the scored frames ('j'), of the last quarter of them
        ('j_last'), of frame 0 ('j_0'); and the median time of a frame ('ms').
    """
    tracker.reset()
    table: dict[int, list[float]] = defaultdict(list)
    times = []
    for index, (image, labels) in enumerate(zip(sequence.images, sequence.labels, strict=True)):
        prompts = [first_prompt(kind, n, labels == n) for n in sequence.ids] if index == 0 else []
        start = time.perf_counter()
        frame = tracker.step(np.ascontiguousarray(image), index / RATE_HZ, prompts)
        times.append(time.perf_counter() - start)
        for found in frame.objects:
            table[found.id].append(region_similarity(labels == found.id, found.mask))
    scores = np.array([table[number] for number in sequence.ids])
    scored = scores[:, sequence.scored.start:sequence.scored.stop]
    quarter = max(1, scored.shape[1] // 4)
    return {'j': float(scored.mean()), 'j_last': float(scored[:, -quarter:].mean()),
            'j_0': float(scores[:, 0].mean()), 'ms': 1e3 * float(np.median(times))}


def evaluate(tracker: Tracker, sequences: list[Sequence], kinds: tuple[str, ...] = KINDS,
             ) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by sequence and prompt kind."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for sequence in tqdm(sequences, unit='sequence'):
        out[sequence.name] = {kind: score(tracker, sequence, kind) for kind in kinds}
    return out


def mean(results: dict[str, dict[str, dict[str, float]]], kind: str, name: str) -> float:
    """Mean over sequences."""
    return float(np.mean([row[kind][name] for row in results.values()]))


def table(title: str, results: dict[str, dict[str, dict[str, float]]],
          floors: dict[str, dict] | None = None) -> str:
    """Markdown table of results; each cell is J (last quarter; frame 0)."""
    kinds = list(next(iter(results.values())))
    heads = [title, *kinds] + (['static', 'flow'] if floors else []) + ['ms']
    lines = ['| ' + ' | '.join(heads) + ' |', '| ' + ' | '.join('---' for _ in heads) + ' |']

    def row(name: str, pick, static: str, flow: str) -> str:
        cells = [f"{pick(k, 'j'):.3f} ({pick(k, 'j_last'):.3f}; {pick(k, 'j_0'):.3f})"
                 for k in kinds]
        extra = [static, flow] if floors else []
        return '| ' + ' | '.join([name, *cells, *extra, f"{pick(kinds[0], 'ms'):.0f}"]) + ' |'

    floor_values = {'static': [], 'dis_flow': []}
    for name, result in results.items():
        marks = ['', '']
        if floors:
            for place, key in enumerate(floor_values):
                floor_values[key].append(floors[name][key]['J_mean'])
                marks[place] = f'{floor_values[key][-1]:.3f}'
        if len(results) <= 12:
            lines.append(row(name, lambda k, n, r=result: r[k][n], *marks))
    if len(results) > 1:
        means = [f'{np.mean(v):.3f}' if v else '' for v in floor_values.values()]
        lines.append(row(f'mean of {len(results)}', lambda k, n: mean(results, k, n), *means))
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
    parser.add_argument('--only', nargs='+', choices=('davis', 'clips', 'demo'),
                        default=['davis', 'clips', 'demo'])
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=list(KINDS))
    parser.add_argument('--limit', type=int, help='frames of a video; number of drawn clips')
    parser.add_argument('--out', type=Path, help='write all scores to this JSON file')
    args = parser.parse_args(argv)
    if 'davis' in args.only and args.data is None:
        parser.error('davis needs --data')
    tracker = Tracker.open(args.model, weights=args.weights, runtime=args.runtime,
                           threads=args.threads)
    results = {}
    for name in args.only:
        floors = None
        if name == 'davis':
            sequences = list(davis(args.data, args.limit))
            floors = json.loads((args.data / 'floors.json').read_text())
        elif name == 'clips':
            sequences = list(held_out(args.clips, args.limit))
        else:
            sequences = list(demo(args.limit))
        results[name] = evaluate(tracker, sequences, tuple(args.kinds))
        print(f"\nJ (last quarter; frame 0)\n{table(name, results[name], floors)}\n", flush=True)
    if args.out:
        args.out.write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
