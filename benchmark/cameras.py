# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Two cameras: one process with two namespaces, or two processes?

    python -m benchmark.cameras [--doc docs/performance.md]

Each camera has a process of its own and a tracking node with the bundled model and one thread; one
object is followed on each. All of it runs on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
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
WAYS = ('one process', 'two processes')


@dataclass(frozen=True)
class Measurement:
    """Of one way, over all cameras.

    Attributes:
        ages_ms: from an image's stamp to its labels at a subscriber.
        rates_hz: results a second of each camera.
        cpu_ms: processor time of the nodes' processes for each result.
        memory_mb: private memory of the nodes' processes together.
        start_s: until both cameras have results.
    """

    ages_ms: np.ndarray
    rates_hz: tuple[float, ...]
    cpu_ms: float
    memory_mb: float
    start_s: float

    def row(self) -> list[str]:
        """Return cells of the table."""
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


def node_commands(way: str, arguments: list[str]) -> list[list[str]]:
    """Return the commands of the nodes."""
    if way == 'one process':
        return [['benchmark.several_nodes', *CAMERAS, *arguments]]
    return [['tam_ros.ros.node', *arguments, '-r', f'__ns:=/{name}'] for name in CAMERAS]


def measure(way: str, rate_hz: float, seconds: float) -> Measurement:
    """Run a graph and look at what comes out.

    Args:
        way: one of `WAYS`.
        rate_hz: of each camera.
        seconds: how long to measure.
    """
    from geometry_msgs.msg import Point
    from sensor_msgs.msg import Image

    from tam_ros.msg import Prompt
    from tam_ros.ros.conversions import stamp_ns

    ages: defaultdict[str, list[float]] = defaultdict(list)
    arguments = graph.node_arguments('image', model=MODEL, threads=1, resize='opencv')
    commands = node_commands(way, arguments)
    cameras = [graph.camera_command(SIZE, rate_hz, f'/{name}/image') for name in CAMERAS]
    listener = graph.Listener()
    begin = time.monotonic()
    try:
        node = listener.node
        for name in CAMERAS:
            node.create_subscription(
                Image,
                f'/{name}/track_node/labels',
                lambda message, name=name: ages[name].append(
                    (time.time_ns() - stamp_ns(message.header)) / 1e6
                ),
                10,
            )
        prompts = [
            node.create_publisher(Prompt, f'/{name}/track_node/prompt', 10) for name in CAMERAS
        ]
        with graph.processes(*commands, *cameras) as children:
            graph.wait_for('results', lambda: len(ages) == len(CAMERAS), 90, children)
            start_s = time.monotonic() - begin
            for publisher in prompts:
                graph.wait_for('nodes', publisher.get_subscription_count, 20, children)
                publisher.publish(Prompt(points=[Point(x=SIZE[1] / 2, y=SIZE[0] / 2)]))
            time.sleep(WARM_UP_S)
            pids = [child.pid for child in children[: len(commands)]]
            first = {name: len(ages[name]) for name in CAMERAS}
            cpu, begin = sum(map(processor_seconds, pids)), time.monotonic()
            time.sleep(seconds)
            cpu, took = sum(map(processor_seconds, pids)) - cpu, time.monotonic() - begin
            found = {name: ages[name][first[name] :] for name in CAMERAS}
            memory = sum(map(private_bytes, pids))
    finally:
        listener.close()
    every = np.concatenate([np.array(found[name]) for name in CAMERAS])
    rates = tuple(len(found[name]) / took for name in CAMERAS)
    return Measurement(every, rates, 1e3 * cpu / max(1, len(every)), memory / 1e6, start_s)


def describe(found: dict[tuple[str, float], Measurement]) -> str:
    """Return the table as markdown."""
    heads = [
        'two cameras, two nodes in',
        'images a second each',
        'results a second each',
        'age p50, ms',
        'p95, ms',
        'processor time a result, ms',
        'private memory, MB',
        'first results after, s',
    ]
    rows = [[way, f'{rate:g}', *one.row()] for (way, rate), one in found.items()]
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
        help='images a second of each camera',
    )
    parser.add_argument('--seconds', type=float, default=15.0, help='of each measurement')
    parser.add_argument('--doc', type=Path, help='markdown file whose section to replace')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        found = {}
        for rate_hz in args.rates:
            for way in WAYS:
                found[way, rate_hz] = one = measure(way, rate_hz, args.seconds)
                print(f'{way}, {rate_hz:g} Hz: {one.row()}', flush=True)
    publish(describe(found), 'cameras', args.doc)
    return 0


if __name__ == '__main__':
    main()
