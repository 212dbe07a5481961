# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Comparison of runtimes and precisions: time of each graph on this machine's processor.

    python -m benchmark.runtimes [--models NAME ...] [--threads 1] [--doc docs/performance.md]

One tracked frame with a full bank. The runtimes take turns, so that other load on the machine
affects all of them, and the fastest turn counts: compare the ratios. With one thread it is
processor time, which does not grow while another process has the core. The weights are random
numbers, which does not change the time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmark.document import publish, table
from benchmark.families import TrackedFrame
from tam_ros.evaluation.timing import machine
from tam_ros.loading import open_runtime
from tam_ros.model_files import TRACKER_GRAPHS, UNTRAINED

MODELS = ('efficienttam_nano', 'efficienttam_ti_512x512')
RUNTIMES = ('onnxruntime:fp32', 'openvino:fp32', 'openvino:bf16')


def measure(
    model: str, runtimes: list[str], objects: int, threads: int, turns: int
) -> dict[str, np.ndarray]:
    """Return seconds of each function of a model, in the order of `TRACKER_GRAPHS`, by runtime."""
    clock = time.process_time if threads == 1 else time.perf_counter
    frames = {}
    for runtime in runtimes:
        name, _, precision = runtime.partition(':')
        frames[runtime] = TrackedFrame(
            open_runtime(model, UNTRAINED, name, threads, precision=precision or 'auto'),
            objects,
            clock,
        )
        frames[runtime].seconds()
    times = {runtime: np.full(len(TRACKER_GRAPHS), np.inf) for runtime in runtimes}
    for _ in range(turns):
        for runtime, frame in frames.items():
            times[runtime] = np.minimum(times[runtime], frame.seconds())
    return times


def rows_of(model: str, times: dict[str, np.ndarray]) -> list[list[str]]:
    """Return milliseconds and, in brackets, the speed relative to the first runtime."""
    with_sum = {runtime: np.append(seconds, seconds.sum()) for runtime, seconds in times.items()}
    unit = next(iter(with_sum.values()))
    return [
        [
            f'`{model}`',
            runtime.replace(':', ' '),
            *(
                f'{1e3 * value:.1f}' + ('' if seconds is unit else f' ({ratio:.2f})')
                for value, ratio in zip(seconds, unit / seconds, strict=True)
            ),
        ]
        for runtime, seconds in with_sum.items()
    ]


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--models', nargs='+', default=MODELS, metavar='NAME')
    parser.add_argument(
        '--runtimes',
        nargs='+',
        default=RUNTIMES,
        metavar='RUNTIME:PRECISION',
        help='the first is the unit of the ratios',
    )
    parser.add_argument('--objects', type=int, default=1)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--turns', type=int, default=20)
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    rows = []
    for model in args.models:
        rows += rows_of(
            model, measure(model, list(args.runtimes), args.objects, args.threads, args.turns)
        )
    heads = [
        'model',
        'runtime',
        *(f'{graph.replace("_", " ")}, ms' for graph in TRACKER_GRAPHS),
        'total, ms',
    ]
    threads = f'{args.threads} threads' if args.threads > 1 else '1 thread, processor time'
    note = (
        f'{machine()}; {threads}; {args.objects} '
        f'object{"s" if args.objects > 1 else ""}. In brackets: speed-up over '
        f'{args.runtimes[0].replace(":", " ")}.'
    )
    publish(f'{table(heads, rows)}\n\n{note}', 'runtimes', args.doc)


if __name__ == '__main__':
    main()
