# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Compares two cameras in one process with two namespaces, and in two processes.

    python -m benchmark.cameras [--doc docs/performance.md]

Each camera has its own process and a tracking node with the bundled model and one thread; one
object is tracked on each. Everything runs on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmark import graph
from benchmark.document import publish, table
from tam_ros.evaluation.timing import machine
from tam_ros.process_usage import private_bytes, processor_seconds

CAMERAS = ('front', 'rear')
MODEL = 'efficienttam_nano'
SIZE = (480, 640)
WARM_UP_S = 5.0
ARRANGEMENTS = ('one process', 'two processes')


@dataclass(frozen=True)
class Measurement:
    """Measurement of one arrangement, over all cameras.

    Attributes:
        ages_ms: from an image's stamp to its labels at a subscriber, milliseconds.
        rates_hz: results per second of each camera.
        cpu_ms: processor time of the nodes' processes per result, milliseconds.
        memory_mb: private memory of the nodes' processes in total.
        start_s: seconds until both cameras have results.
    """

    ages_ms: np.ndarray
    rates_hz: tuple[float, ...]
    cpu_ms: float
    memory_mb: float
    start_s: float

    def row(self) -> list[str]:
        """Return the cells of the table."""
        p50, p95 = np.percentile(self.ages_ms, (50, 95))
        rates = ' and '.join(f'{rate:.1f}' for rate in self.rates_hz)
        return [
            rates,
            f'{p50:.0f}',
            f'{p95:.0f}',
            f'{self.cpu_ms:.0f}',
            f'{self.memory_mb:.0f}',
            f'{self.start_s:.1f}',
        ]


def node_commands(arrangement: str, arguments: list[str]) -> list[list[str]]:
    """Return the commands of the nodes."""
    if arrangement == 'one process':
        return [['benchmark.several_nodes', *CAMERAS, *arguments]]
    return [['tam_ros.ros.track_node', *arguments, '-r', f'__ns:=/{name}'] for name in CAMERAS]


def measure(arrangement: str, rate_hz: float, seconds: float) -> Measurement:
    """Run a graph and measure its results.

    Args:
        arrangement: one of `ARRANGEMENTS`.
        rate_hz: rate of each camera.
        seconds: duration of the measurement.
    """
    from sensor_msgs.msg import Image

    from tam_ros.client import TamClient
    from tam_ros.ros.conversions import stamp_ns

    def note_age(ages_ms: list[float], message: Image) -> None:
        ages_ms.append((time.time_ns() - stamp_ns(message.header)) / 1e6)

    ages: dict[str, list[float]] = {name: [] for name in CAMERAS}
    arguments = graph.node_arguments('image', model=MODEL, threads=1, resize='opencv')
    commands = node_commands(arrangement, arguments)
    cameras = [graph.camera_command(SIZE, rate_hz, f'/{name}/image') for name in CAMERAS]
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        node = None  # the first client's, which spins it, serves all of them
        clients = []
        for name in CAMERAS:
            client = TamClient(f'/{name}/track_node', node=node, timeout=20)
            clients.append(stack.enter_context(client))
            node = client.node
            node.create_subscription(
                Image,
                f'/{name}/track_node/labels',
                partial(note_age, ages[name]),
                10,
            )
        with graph.processes(*commands, *cameras) as children:
            graph.wait_for('results', lambda: all(ages.values()), 90, children)
            start_s = time.monotonic() - begin
            for client in clients:
                client.add_point(SIZE[1] / 2, SIZE[0] / 2)
            time.sleep(WARM_UP_S)
            pids = [child.pid for child in children[: len(commands)]]
            first = {name: len(ages[name]) for name in CAMERAS}
            cpu, begin = sum(map(processor_seconds, pids)), time.monotonic()
            time.sleep(seconds)
            graph.wait_for(
                'results of each camera',
                lambda: all(len(ages[name]) > first[name] for name in CAMERAS),
                60,
                children,
            )
            cpu, took = sum(map(processor_seconds, pids)) - cpu, time.monotonic() - begin
            found = {name: ages[name][first[name] :] for name in CAMERAS}
            memory = sum(map(private_bytes, pids))
    every = np.concatenate([np.array(found[name]) for name in CAMERAS])
    rates = tuple(len(found[name]) / took for name in CAMERAS)
    return Measurement(every, rates, 1e3 * cpu / max(1, len(every)), memory / 1e6, start_s)


def describe(found: dict[tuple[str, float], Measurement]) -> str:
    """Return the table as markdown."""
    heads = [
        'two cameras, two nodes in',
        'images per second each',
        'results per second each',
        'age p50, ms',
        'p95, ms',
        'processor time per result, ms',
        'private memory, MB',
        'first results after, s',
    ]
    rows = [[name, f'{rate:g}', *one.row()] for (name, rate), one in found.items()]
    return '\n'.join(
        [
            table(heads, rows),
            '',
            f'{MODEL}, onnxruntime, one thread each, {SIZE[1]}x{SIZE[0]}, {machine()}.',
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--rates',
        type=float,
        nargs='+',
        default=[5.0, 15.0],
        help='images per second of each camera',
    )
    parser.add_argument('--seconds', type=float, default=15.0, help='of each measurement')
    parser.add_argument('--doc', type=Path, help='markdown file whose section to replace')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        found = {}
        for rate_hz in args.rates:
            for name in ARRANGEMENTS:
                found[name, rate_hz] = one = measure(name, rate_hz, args.seconds)
                print(f'{name}, {rate_hz:g} Hz: {one.row()}', flush=True)
    publish(describe(found), 'cameras', args.doc)
    return 0


if __name__ == '__main__':
    main()
