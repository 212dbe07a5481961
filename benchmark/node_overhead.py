# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node's time per image besides the model, compared with that of a naive node.

    python -m benchmark.node_overhead [--doc docs/performance.md]

A camera process, the node in another process, and a subscriber of its labels, over DDS, on two
cores. The model is a stand-in that sleeps, as a CPU that waits for a GPU; two objects are tracked.
The overhead is the age at which labels reach the subscriber minus the model's time: transport of
the image, conversion, resizing, the tracker's own work, masks at the size of the image, publishing
and the transport of the labels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark import graph
from benchmark.document import publish, table
from tam_ros.evaluation.timing import machine
from tam_ros.process_usage import processor_seconds

if TYPE_CHECKING:
    from tam_ros.client import StatusEntry

OBJECTS = 2
RATE_HZ = 30.0
WARM_UP_S = 3.0
GOAL_MS, GOAL_SIZE = 10.0, '1280x720'
STAGES = ('arrival_age', 'decode', 'resize', 'masks', 'publish')

# By the name in the table: command of the node and its arguments.
NODES = {
    'tam_ros': ['benchmark.stand_in', *graph.node_arguments(resize='opencv')],
    'tam_ros, `resize: pil`': ['benchmark.stand_in', *graph.node_arguments(resize='pil')],
    'naive, `data = array.tobytes()`': [
        'benchmark.naive_node',
        'bytes',
        '--resize',
        'opencv',
        *graph.node_arguments(),
    ],
    'naive, `data = array`': [
        'benchmark.naive_node',
        'ndarray',
        '--resize',
        'opencv',
        *graph.node_arguments(),
    ],
    'transport only': ['benchmark.naive_node', 'empty', *graph.node_arguments()],
}


@dataclass(frozen=True)
class Measurement:
    """Measurement of one node with one size of images.

    Attributes:
        overhead_ms: age of each result minus the model's time, milliseconds.
        rate_hz: results per second.
        cpu_ms: processor time of the node's process per result, milliseconds.
        stages: p50 of the node's stages, milliseconds, where it reports them.
    """

    overhead_ms: np.ndarray
    rate_hz: float
    cpu_ms: float
    stages: dict[str, float]

    def row(self) -> list[str]:
        """Return the cells of the table."""
        p50, p95 = np.percentile(self.overhead_ms, (50, 95))
        return [f'{p50:.1f}', f'{p95:.1f}', f'{self.rate_hz:.1f}', f'{self.cpu_ms:.1f}']


def measure(
    command: list[str], size: tuple[int, int], model_ms: float, seconds: float
) -> Measurement:
    """Run a graph and measure its results.

    Args:
        command: command of the node.
        size: (height, width) of the images, pixels.
        model_ms: duration of the model, milliseconds.
        seconds: duration of the measurement.

    Raises:
        RuntimeError: the node publishes nothing.
    """
    # rclpy reads its environment when it is imported.
    from geometry_msgs.msg import Point
    from sensor_msgs.msg import Image

    from tam_ros.client import TamClient
    from tam_ros.msg import Prompt
    from tam_ros.ros.conversions import stamp_ns

    empty = 'empty' in command
    graph.set_model_cost(model_ms)
    arrivals: list[float] = []  # ages in milliseconds
    stages: dict[str, float] = {}

    def on_labels(message: Image) -> None:
        arrivals.append((time.time_ns() - stamp_ns(message.header)) / 1e6)

    with TamClient(graph.NODE, timeout=20) as client:
        client.node.create_subscription(Image, f'{graph.NODE}/labels', on_labels, 10)
        # The naive nodes have this topic and no services.
        prompts = client.node.create_publisher(Prompt, f'{graph.NODE}/prompt', 10)
        with graph.processes(command, graph.camera_command(size, RATE_HZ)) as children:
            graph.wait_for('results', lambda: arrivals, 60, children)
            if not empty:
                graph.wait_for('the node', prompts.get_subscription_count, 20, children)
                for number in range(OBJECTS):
                    x = size[1] * (number + 1) / (OBJECTS + 1)
                    prompts.publish(Prompt(points=[Point(x=x, y=size[0] / 2)]))
                for number in range(OBJECTS):
                    client.wait_until_tracked(number + 1)
            time.sleep(WARM_UP_S)
            pid = children[0].pid
            first, cpu, begin = len(arrivals), processor_seconds(pid), time.monotonic()
            time.sleep(seconds)
            graph.wait_for('results', lambda: len(arrivals) > first, 60, children)
            cpu, took = processor_seconds(pid) - cpu, time.monotonic() - begin
            ages = np.array(arrivals[first:])
            if command[0] == 'benchmark.stand_in':
                stages = _stages(client.status())
    ages -= 0.0 if empty else model_ms
    return Measurement(ages, len(ages) / took, 1e3 * cpu / len(ages), stages)


def _stages(status: dict[str, StatusEntry]) -> dict[str, float]:
    """Return the p50 of the stages in the node's diagnostics, milliseconds."""
    return {
        key.removesuffix('_ms_p50'): float(value)
        for entry in status.values()
        for key, value in entry.values.items()
        if key.endswith('_ms_p50')
    }


def describe(found: dict[tuple[str, float, tuple[int, int]], Measurement]) -> str:
    """Return the tables as markdown."""
    heads = [
        'node',
        'model, ms',
        'images',
        'overhead p50, ms',
        'p95, ms',
        'results per second',
        'processor time per result, ms',
    ]
    rows = [
        [name, f'{model:g}', f'{size[1]}x{size[0]}', *one.row()]
        for (name, model, size), one in found.items()
    ]
    lines = [table(heads, rows), '', f'{machine()}; camera at {RATE_HZ:g} Hz, {OBJECTS} objects.']
    cost = next(model for _, model, _ in found)
    for (name, model_ms, size), one in found.items():
        if name != 'tam_ros' or model_ms != cost:
            continue
        pixels = f'{size[1]}x{size[0]}'
        stages = ', '.join(f'{key} {one.stages[key]:.1f}' for key in STAGES if key in one.stages)
        lines += ['', f'Stages of tam_ros at {pixels}, p50 in ms: {stages}.']
        if pixels == GOAL_SIZE:
            met = 'met' if np.median(one.overhead_ms) <= GOAL_MS else 'NOT met'
            lines[-1] += f' The goal of {GOAL_MS:g} ms is **{met}** (model {cost:g} ms).'
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--model-ms',
        type=float,
        nargs='+',
        default=[20.0, 50.0],
        help='duration of the model per image',
    )
    parser.add_argument('--seconds', type=float, default=10.0, help='of each measurement')
    parser.add_argument(
        '--sizes', nargs='+', default=['640x480', GOAL_SIZE], help='WIDTHxHEIGHT of the images'
    )
    parser.add_argument('--only', help='measure only nodes with this in their name')
    parser.add_argument('--doc', type=Path, help='markdown file whose section to replace')
    args = parser.parse_args(argv)
    sizes = [(height, width) for width, height in (map(int, s.split('x')) for s in args.sizes)]
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        found = {}
        for model_ms in args.model_ms:
            for name, command in NODES.items():
                if args.only and args.only not in name:
                    continue
                for size in sizes:
                    found[name, model_ms, size] = one = measure(
                        command, size, model_ms, args.seconds
                    )
                    print(f'{name}, {model_ms:g} ms, {size[1]}x{size[0]}: {one.row()}', flush=True)
    publish(describe(found), 'overhead', args.doc)
    return 0


if __name__ == '__main__':
    main()
