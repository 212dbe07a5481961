# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How `tam label` scales: workers with a model of known cost, real ones, and a long queue.

    python -m benchmark.labelling [--doc docs/scale.md]

The stand-in for the model sleeps, as a processor that waits for a GPU, so that the machine's own
processors do not limit the number of workers. Everything else is real: processes, bags, results.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.document import publish, table
from benchmark.stand_in import COST_MS, open_stand_in
from tam_ros.evaluation.timing import machine
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.frames import Header
from tam_ros.labelling.job import Job, Recording
from tam_ros.labelling.labeller import Labelled, Labeller, Task
from tam_ros.labelling.run import Progress, run
from tam_ros.labelling.state import OutputFolder
from tam_ros.labelling.workers import Event, LocalWorkers, Workers
from tam_ros.process_usage import resident_bytes

FRAMES, SIZE = 60, (120, 160)
PROMPT = '1:box:40,30,100,90'
MODEL = 'efficienttam_nano_256'


def write_bags(folder: Path, count: int) -> list[Recording]:
    """Write recordings of noise, and return them."""
    rng = np.random.default_rng(0)
    recordings = []
    for number in range(count):
        path = folder / f'drive{number}.mcap'
        with BagWriter(path) as bag:
            for index in range(FRAMES):
                image = rng.integers(0, 255, (*SIZE, 3), np.uint8)
                bag.write_image('/image', Header(10**9 + index * 10**8, 'camera'), image)
        recordings.append(Recording(str(path), path.stem, prompts=(PROMPT,), split='train'))
    return recordings


class NoWork(Workers):
    """Finishes every task at once, so that only the queue takes time and memory."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._events: list[Event] = []

    def free(self) -> int:
        """Return how many more tasks can be started."""
        return 8 - len(self._events)

    def start(self, task: Task) -> None:
        """Write one file."""
        (task.draft / 'masks').mkdir()
        (task.draft / 'masks' / f'{task.recording.name}.png').write_bytes(b'0')
        self._events.append(Event(task.key, result=Labelled(FRAMES, FRAMES, 1, 0.0, {'png': {}})))

    def events(self, timeout: float) -> Sequence[Event]:
        """Return that everything is finished."""
        found, self._events = self._events, []
        return found

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def labelled(
    job: Job, workers: Workers, report: Callable[[Progress], None] = lambda progress: None
) -> Iterator[float]:
    """Run a job into a folder that is removed afterwards; yield the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        job = replace(job, output=Path(folder) / 'out')
        began = time.monotonic()
        with OutputFolder(job.output) as output:
            summary = run(job, output, workers, 'model', report=report)
        if summary.failed:
            raise RuntimeError(str(summary.failed))
        yield time.monotonic() - began


def simulated(recordings: Sequence[Recording], counts: Sequence[int], cost_s: float) -> str:
    """Label with several numbers of workers and a model that sleeps."""
    os.environ[COST_MS] = str(cost_s * 1e3)
    rows = []
    least = len(recordings) * FRAMES * cost_s
    for count in counts:
        make = partial(Labeller, open_stand_in)
        job = Job(tuple(recordings), Path(), ('bag',))
        with LocalWorkers(count, make) as workers, labelled(job, workers) as seconds:
            overhead = (seconds * count - least) / len(recordings)
            rows.append(
                [
                    str(count),
                    f'{seconds:.1f}',
                    f'{len(recordings) * FRAMES / seconds:.0f}',
                    f'{least / count / seconds:.0%}',
                    f'{overhead:.2f}',
                ]
            )
    heads = ['workers', 'seconds', 'frames a second', 'of the ideal', 'overhead a recording, s']
    return table(heads, rows)


def real(recordings: Sequence[Recording], counts: Sequence[int]) -> str:
    """Label with the bundled model."""
    rows = []
    for count in counts:
        job = Job(tuple(recordings), Path(), ('bag',), model=MODEL)
        with LocalWorkers(count) as workers, labelled(job, workers) as seconds:
            rows.append(
                [str(count), f'{seconds:.1f}', f'{len(recordings) * FRAMES / seconds:.0f}']
            )
    return table(['workers', 'seconds', 'frames a second'], rows)


def recovery(recordings: Sequence[Recording], cost_s: float) -> str:
    """Kill a worker; say how long it takes until another one labels the recording again."""
    os.environ[COST_MS] = str(cost_s * 1e3)
    killed_at: list[float] = []
    again_at: list[float] = []
    furthest = 0

    def kill(progress: Progress) -> None:
        nonlocal furthest
        frames = max((done for done, _ in progress.running.values()), default=0)
        if not killed_at and frames > FRAMES // 2:
            process = multiprocessing.active_children()[0]
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            killed_at.append(time.monotonic())
        elif killed_at and not again_at and 0 < frames < furthest:
            again_at.append(time.monotonic())
        furthest = max(furthest, frames)

    job = Job(tuple(recordings[:1]), Path(), ('bag',))
    with (
        LocalWorkers(1, partial(Labeller, open_stand_in)) as workers,
        labelled(job, workers, kill),
    ):
        pass
    return (
        f'A worker was killed in the middle of a recording; {again_at[0] - killed_at[0]:.1f} s '
        'later a new one had labelled its first frame again.'
    )


def queue(count: int) -> str:
    """Queue many recordings; say how much memory and time the head needs."""
    with tempfile.TemporaryDirectory() as folder:
        recordings = []
        for number in range(count):
            path = Path(folder, f'{number}.mcap')
            path.write_bytes(str(number).encode())
            recordings.append(Recording(str(path), path.stem, prompts=(PROMPT,), split='train'))
        before = resident_bytes()
        job = Job(tuple(recordings), Path(), ('png',))
        with labelled(job, NoWork()) as seconds:
            memory = resident_bytes() - before
    return (
        f'{count} recordings in the queue: the head grows by {memory / 1e6:.0f} MB and needs '
        f'{1e3 * seconds / count:.1f} ms a recording to find out what is finished and to publish.'
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--recordings', type=int, default=16)
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2, 4, 8])
    parser.add_argument('--cost-ms', type=float, default=20, help='of the stand-in, a frame')
    parser.add_argument('--queue', type=int, default=10_000)
    parser.add_argument('--doc', type=Path, help='document whose section is replaced')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        recordings = write_bags(Path(folder), options.recordings)
        cost_s = options.cost_ms / 1e3
        parts = [
            f'`python -m benchmark.labelling`, {machine()}; {len(recordings)} bags of {FRAMES} '
            f'frames, a model that sleeps {options.cost_ms:g} ms a frame:',
            simulated(recordings, options.workers, cost_s),
            f'The same bags with {MODEL}:',
            real(recordings[:8], [1, 2]),
            recovery(recordings, cost_s),
            queue(options.queue),
        ]
    publish('\n\n'.join(parts), 'labelling', options.doc)


if __name__ == '__main__':
    main()
