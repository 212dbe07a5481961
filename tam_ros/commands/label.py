# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam label`: labels the recordings of a job file, and makes data sets of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tam_ros.commands import UsageError
from tam_ros.commands.backend import count

if TYPE_CHECKING:
    from tqdm import tqdm

    from tam_ros.labelling.job import Job
    from tam_ros.labelling.run import Progress, Summary
    from tam_ros.labelling.workers import Workers

_BYTES_PER_PROCESS = 1_200_000_000
"""Memory that is assumed for each process; what it needs depends on the model and the images."""

LOCAL, RAY = 'local', 'ray'


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('label', help='label many recordings, and make data sets of them')
    parser.add_argument('job', type=Path, help='YAML file, see docs/labelling.md')
    parser.add_argument(
        '--workers', type=count, metavar='N',
        help='recordings that are labelled at the same time (default: as many as processors and '
        'memory allow)',
    )  # fmt: skip
    parser.add_argument(
        '--on', default=LOCAL, type=_place, metavar='WHERE',
        help=f'{LOCAL}: processes of this machine (default); {RAY}: a Ray cluster on this '
        'machine; ray://HOST:10001: one elsewhere',
    )  # fmt: skip
    parser.add_argument(
        '--gpus', type=float, default=0.0, metavar='SHARE',
        help='GPUs that each worker of a Ray cluster reserves, for example 0.5',
    )  # fmt: skip
    parser.add_argument(
        '--retries', type=int, default=2, metavar='N',
        help='how often a recording is tried again whose process was killed (default 2)',
    )  # fmt: skip
    parser.add_argument(
        '--prune', action='store_true',
        help='remove the results of recordings that are no longer in the job',
    )  # fmt: skip
    parser.add_argument(
        '--check', action='store_true', help='only read the job, and list its recordings'
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Label what is not finished yet. Run again, it goes on where it was stopped.

    Raises:
        JobError: the job cannot be run as it is written.
        UsageError: some recordings could not be labelled.
        UnknownModelError, WeightsError: the model cannot be opened.
        OSError: the output folder cannot be written.
    """
    from tam_ros.labelling.job import read_job
    from tam_ros.labelling.run import fingerprint_of
    from tam_ros.labelling.run import run as run_job
    from tam_ros.labelling.state import OutputFolder
    from tam_ros.recordings.interruption import Interruption

    job = read_job(options.job)
    if options.check:
        for one in job.recordings:
            print(f'{one.name}: {one.source} ({one.split})')
        return
    fingerprint = fingerprint_of(job.model, job.weights, job.runtime, job.precision)
    with (
        OutputFolder(job.output) as folder,
        _workers(options, job) as workers,
        _Bars(len(job.recordings)) as bars,
        Interruption() as interruption,
    ):
        summary = run_job(
            job,
            folder,
            workers,
            fingerprint,
            retries=max(0, options.retries),
            report=bars.show,
            stop=lambda: interruption.requested,
            prune=options.prune,
        )
    _print(job, summary)
    interruption.raise_if_requested()
    if summary.failed:
        total = len(job.recordings)
        raise UsageError(f'{len(summary.failed)} of {total} recordings could not be labelled')


def _workers(options: argparse.Namespace, job: Job) -> Workers:
    if options.on != LOCAL:
        from tam_ros.labelling.ray_workers import RayWorkers

        address = None if options.on == RAY else options.on
        return RayWorkers(address, options.workers, job.threads, options.gpus)
    from tam_ros.labelling.workers import LocalWorkers

    return LocalWorkers(options.workers or _fitting(job))


def _fitting(job: Job) -> int:
    """Return how many processes the processors and the free memory of this machine allow."""
    processors = len(os.sched_getaffinity(0)) // job.threads
    memory = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // _BYTES_PER_PROCESS
    return max(1, min(processors, memory, len(job.recordings)))


def _place(text: str) -> str:
    """Parse the place of the workers, as a `type` of argparse."""
    if text in (LOCAL, RAY) or text.startswith('ray://'):
        return text
    raise argparse.ArgumentTypeError(f'{text!r} is none of {LOCAL}, {RAY}, ray://HOST:PORT')


class _Bars:
    """One bar for all recordings, and one for each that is being labelled."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bars: dict[str, tqdm[Any]] = {}

    def __enter__(self) -> _Bars:
        from tqdm import tqdm

        self._all = tqdm(total=self._total, unit='recording', position=0, disable=None)
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._bars.values():
            bar.close()
        self._all.close()

    def show(self, progress: Progress) -> None:
        """Draw the progress, on a terminal."""
        from tqdm import tqdm

        self._all.total = progress.total
        if progress.seconds > 1:
            rate = f'{progress.frames / progress.seconds:.1f} frames/s'
            self._all.set_postfix_str(rate, refresh=False)
        self._all.update(progress.done - self._all.n)
        for name in [name for name in self._bars if name not in progress.running]:
            self._bars.pop(name).close()
        for name, (frames, total) in progress.running.items():
            if name not in self._bars:
                self._bars[name] = tqdm(desc=name[:30], unit='frame', leave=False, disable=None)
            bar = self._bars[name]
            bar.total = total
            bar.update(frames - bar.n)


def _print(job: Job, summary: Summary) -> None:
    frames = sum(one.frames for one in summary.finished)
    print(
        f'{job.output}: {len(summary.finished)} of {len(job.recordings)} recordings, {frames} '
        f'frames; {summary.before} of them were finished before'
    )
    for name, other in summary.same.items():
        print(f'{name}: content and prompts are those of {other}; labelled once')
    for name, note in summary.notes.items():
        print(f'{name}: labelled up to a damage: {note}')
    for name, why in summary.failed.items():
        print(f'{name}: not labelled: {why}')
    if summary.stale:
        print(
            f'no longer in the job, but still in the folder: {", ".join(summary.stale[:10])}; '
            '--prune removes them'
        )
    if summary.stopped:
        print('stopped; run it again to go on')
