# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Endurance of a tracker: memory and step time over many steps.

    python -m benchmark.endurance --steps 20000 --plot docs/images/endurance.png

Four drawn discs leave the image and return. Each is prompted with a box when most of it is in the
image and it is not tracked, and removed some time after it has left. So objects are occluded,
found again, removed and added again hundreds of times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmark.document import publish
from tam_ros.evaluation.prompts import prompt_from_truth
from tam_ros.evaluation.synthetic import MovingDiscs
from tam_ros.evaluation.timing import RATE_HZ, machine
from tam_ros.process_usage import resident_bytes
from tam_ros.tracking import Prompt, Tracker, TrackerOptions

OBJECTS = 4
SIZE = (240, 320)
REACH = 1.3  # outside the image for about half of the time
PATIENCE = 30  # steps outside the image after which an object is removed
SETTLED = 200  # steps after which memory must no longer grow
RSS_LIMIT = 0.02
TIME_LIMIT = 0.10


@dataclass
class Record:
    """Measurements of each step, as arrays [steps].

    Attributes:
        rss: resident set size after the step, bytes.
        wall: time of the step, seconds.
        cpu: processor time of the step in all threads, seconds.
        live: objects after the step.
        begun: objects that were added during the whole run.
    """

    rss: np.ndarray
    wall: np.ndarray
    cpu: np.ndarray
    live: np.ndarray
    begun: int = 0

    @classmethod
    def of(cls, steps: int) -> Record:
        """Allocate and write the arrays, so that filling them needs no further memory."""
        return cls(
            rss=np.ones(steps, np.int64),
            wall=np.ones(steps, np.float32),
            cpu=np.ones(steps, np.float32),
            live=np.ones(steps, np.int8),
        )

    def first(self, steps: int) -> Record:
        """Return the record of the first steps."""
        return Record(
            self.rss[:steps], self.wall[:steps], self.cpu[:steps], self.live[:steps], self.begun
        )

    def rss_drift(self) -> float:
        """Return the largest deviation of RSS from its value once settled, as a share of it."""
        later = self.rss[SETTLED:].astype(float)
        return float(np.abs(later - later[0]).max() / later[0])

    def time_drift(self) -> float:
        """Return the relative change of a step's processor time, first to last quarter.

        Steps are compared with steps of the same number of objects. Wall time would include
        waiting for other processes.
        """
        cpu, live = self.cpu[SETTLED:], self.live[SETTLED:]
        quarter = len(cpu) // 4
        ratios, weights = [], []
        for count in range(1, OBJECTS + 1):
            first = cpu[:quarter][live[:quarter] == count]
            last = cpu[-quarter:][live[-quarter:] == count]
            if min(len(first), len(last)) >= 5:
                ratios.append(np.median(last) / np.median(first))
                weights.append(min(len(first), len(last)))
        if not ratios:
            raise ValueError('too few steps to compare their time')
        return float(np.average(ratios, weights=weights) - 1)


class Operator:
    """Decides which discs are prompted and which objects are removed."""

    def __init__(self) -> None:
        self.begun = 0  # number of objects so far, and the id of the latest
        self.id_of: dict[int, int] = {}  # disc -> object
        self._unseen: dict[int, int] = {}

    def act(self, tracker: Tracker, labels: np.ndarray, whole: int) -> Iterator[Prompt]:
        """Remove objects whose disc has left, and yield prompts for discs that have appeared.

        Args:
            tracker: the tracker that has the objects.
            labels: truth of the frame [H, W].
            whole: area of a fully visible disc, pixels.
        """
        area = np.bincount(labels.ravel(), minlength=OBJECTS + 1)
        for disc in range(1, OBJECTS + 1):
            self._unseen[disc] = 0 if area[disc] else self._unseen.get(disc, 0) + 1
            if disc in self.id_of and self._unseen[disc] > PATIENCE:
                tracker.remove(self.id_of.pop(disc))
            elif disc not in self.id_of and area[disc] > 0.8 * whole:
                self.begun += 1
                self.id_of[disc] = self.begun
                yield prompt_from_truth('box', self.id_of[disc], labels == disc)


def run(tracker: Tracker, steps: int, size: tuple[int, int] = SIZE) -> Record:
    """Track the stream for a number of steps, or until Ctrl-C."""
    scene = MovingDiscs(OBJECTS, size, REACH)
    operator, record = Operator(), Record.of(steps)
    tracker.reset()
    done = 0
    with contextlib.suppress(KeyboardInterrupt):
        for index in tqdm(range(steps), unit='step', mininterval=5):
            image, labels = scene.frame(index)
            prompts = list(operator.act(tracker, labels, scene.area))
            begin, cpu = time.perf_counter(), time.process_time()
            tracker.step(image, index / RATE_HZ, prompts)
            record.wall[index] = time.perf_counter() - begin
            record.cpu[index] = time.process_time() - cpu
            record.rss[index] = resident_bytes()
            record.live[index] = len(tracker.objects)
            done = index + 1
    record.begun = operator.begun
    return record.first(done)


def describe(record: Record, tracker: Tracker, command: str) -> tuple[str, bool]:
    """Return the results as markdown, and whether they are within the limits."""
    steps, drift, slower = len(record.rss), record.rss_drift(), record.time_drift()
    # A faster step is not a failure: other work on the machine has ended.
    flat, steady = drift <= RSS_LIMIT, slower <= TIME_LIMIT
    live = record.live[record.live > 0]
    text = '\n'.join(
        [
            f'`{command}`, {tracker.model}, {tracker.runtime}, {machine()}:',
            '',
            f'- {steps} steps, {record.begun} objects added, {live.mean():.1f} tracked on '
            f'average, at most {live.max()}.',
            f'- RSS {record.rss[SETTLED] / 1e6:.1f} MB after {SETTLED} steps, then between '
            f'{record.rss[SETTLED:].min() / 1e6:.1f} and {record.rss[SETTLED:].max() / 1e6:.1f} '
            f'MB, {record.rss[-1] / 1e6:.1f} MB at the end: '
            f'**{"flat" if flat else "NOT flat"} within {RSS_LIMIT:.0%}** (largest deviation '
            f'{drift:.2%}).',
            '- Processor time of steps with the same number of objects, last quarter compared '
            'with the first: '
            f'{slower:+.1%}, **{"not slower" if steady else "SLOWER"}** (limit {TIME_LIMIT:.0%}); '
            f'median {1e3 * np.median(record.cpu):.0f} ms processor, '
            f'{1e3 * np.median(record.wall):.0f} ms wall time.',
        ]
    )
    return text, flat and steady


def plot(record: Record, path: Path) -> None:
    """Draw RSS and step time over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout='constrained')
    memory, time_ = figure.subplots(2, 1, sharex=True)
    steps = np.arange(len(record.rss))
    settled = record.rss[min(SETTLED, len(steps) - 1)] / 1e6
    memory.axhspan(
        settled * (1 - RSS_LIMIT),
        settled * (1 + RSS_LIMIT),
        color='tab:green',
        alpha=0.15,
        label=f'{RSS_LIMIT:.0%} around step {SETTLED}',
    )
    memory.plot(steps, record.rss / 1e6, linewidth=1.2, label='RSS')
    memory.set_ylim(settled * (1 - 4 * RSS_LIMIT), settled * (1 + 4 * RSS_LIMIT))
    memory.set_ylabel('memory, MB')
    window = max(1, len(steps) // 200)
    chunks = len(steps) // window
    middle = (np.arange(chunks) + 0.5) * window
    cpu, live = (
        values[: chunks * window].reshape(chunks, window) for values in (record.cpu, record.live)
    )
    for count in range(1, OBJECTS + 1):
        of_count = np.ma.masked_array(1e3 * cpu, live != count)
        values = np.ma.median(of_count, axis=1).filled(np.nan)
        time_.plot(
            middle, values, '.', markersize=3, label=f'{count} object{"" if count == 1 else "s"}'
        )
    time_.set_ylim(0, None)
    time_.set_ylabel(f'processor time of a step, ms\n(medians of {window} steps)')
    time_.set_xlabel('step')
    for axis in (memory, time_):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, ncols=4, loc='lower right')
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Run and report; return 1 if memory or time exceed their limits."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--steps', type=int, default=20000)
    parser.add_argument('--model', default='efficienttam_nano')
    parser.add_argument('--weights')
    parser.add_argument('--runtime', default='onnxruntime')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument(
        '--recall',
        type=float,
        default=0.5,
        help='seconds of images to keep for late prompts (default 0.5)',
    )
    parser.add_argument('--plot', type=Path, help='image to write')
    parser.add_argument('--json', type=Path, help="file for every step's figures")
    parser.add_argument('--doc', type=Path, help='markdown file whose section to replace')
    args = parser.parse_args(argv)
    if args.steps < 2 * SETTLED:
        parser.error(f'at least {2 * SETTLED} steps: the first {SETTLED} do not count')
    with Tracker.open(
        args.model,
        args.weights,
        args.runtime,
        threads=args.threads,
        options=TrackerOptions(prompt_history_seconds=args.recall),
    ) as tracker:
        record = run(tracker, args.steps)
    if len(record.rss) < 2 * SETTLED:
        print(f'interrupted after {len(record.rss)} steps, too few to judge', file=sys.stderr)
        return 1
    command = f'python -m benchmark.endurance --model {args.model} --steps {args.steps}'
    text, good = describe(record, tracker, command)
    if args.json:
        args.json.write_text(
            json.dumps(
                {
                    'rss': record.rss.tolist(),
                    'live': record.live.tolist(),
                    'wall': record.wall.round(5).tolist(),
                    'cpu': record.cpu.round(5).tolist(),
                }
            )
        )
    if args.plot:
        plot(record, args.plot)
    publish(text, 'endurance', args.doc)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
