# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How many of the images that a camera sends arrive at the node, over DDS on one computer.

    python -m benchmark.arrivals [--doc docs/performance.md]

A camera process sends a number of images, and ends; the node, whose model costs nothing, says in
/diagnostics how many it received. The node has the Fast DDS profile of this package, as with the
launch files; the camera has it or not. An image also counts as not arrived if a newer one replaced
it before the node's process took it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark import graph
from benchmark.document import publish, table
from tam_ros.evaluation.timing import machine

PROFILE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
SECONDS = 10.0


class Camera(NamedTuple):
    """One camera: how it sends.

    Attributes:
        reliable: whether it offers reliable delivery.
        profile: whether it runs with the Fast DDS profile for images.
    """

    reliable: bool
    profile: bool

    def words(self) -> list[str]:
        """Return the cells of the table."""
        return ['reliable' if self.reliable else 'best effort', 'yes' if self.profile else 'no']


CAMERAS = [Camera(reliable, profile) for reliable in (True, False) for profile in (False, True)]
Load = tuple[int, int, float]  # height, width, images per second
Found = Mapping[tuple[str, Camera], Mapping[Load, float]]


def measure(
    reliability: str, cameras: Sequence[Camera], loads: Sequence[Load], seconds: float
) -> dict[Camera, dict[Load, float]]:
    """Start a node, and one camera after the other.

    Args:
        reliability: `qos_reliability` of the node.
        cameras: the cameras.
        loads: sizes and rates of the images.
        seconds: how long each camera sends.

    Returns:
        The share of the images that arrived, 0 to 1.

    Raises:
        RuntimeError: a process ended early.
    """
    # rclpy reads its environment when it is imported.
    from tam_ros.client import TamClient

    graph.set_model_cost(0.0)
    found: dict[Camera, dict[Load, float]] = {}
    node = ['benchmark.stand_in', *graph.node_arguments(qos_reliability=reliability)]
    with TamClient(graph.NODE, timeout=30) as client, graph.processes(node) as children:

        def received() -> int:
            for name, entry in client.status().items():
                if name.endswith('input'):
                    return int(entry.values['received'])
            return 0

        for camera in cameras:
            for height, width, rate_hz in loads:
                before, count = received(), round(seconds * rate_hz)
                send(camera, (height, width), rate_hz, count, children)
                time.sleep(2.0)  # diagnostics are published once per second
                share = (received() - before) / count
                found.setdefault(camera, {})[height, width, rate_hz] = share
                print(f'{reliability}, {camera}, {width}x{height}, {rate_hz:g} Hz: {share:.0%}')
    return found


def send(
    camera: Camera,
    size: tuple[int, int],
    rate_hz: float,
    count: int,
    others: list[graph.ChildProcess],
) -> None:
    """Run a camera until it has sent its images.

    Raises:
        RuntimeError: it did not end in time, or another process ended.
    """
    command = graph.camera_command(size, rate_hz)
    command[1:1] = ['--count', str(count), *(['--reliable'] if camera.reliable else [])]
    profile = os.environ[PROFILE]
    if not camera.profile:
        del os.environ[PROFILE]
    try:
        with graph.processes(command) as (child,):
            os.environ[PROFILE] = profile
            done = lambda: child.exit_status() == 0  # noqa: E731
            graph.wait_for('the camera', done, 60 + 3 * count / rate_hz, others)
    finally:
        os.environ[PROFILE] = profile


def describe(found: Found) -> str:
    """Return the table as markdown: images that arrived of those sent."""
    loads = list(next(iter(found.values())))
    heads = ['camera', 'profile', '`qos_reliability`']
    heads += [f'{width}x{height}, {rate:g} Hz' for height, width, rate in loads]
    rows = [
        [*camera.words(), f'`{reliability}`', *(f'{100 * shares[load]:.0f} %' for load in loads)]
        for (reliability, camera), shares in found.items()
    ]
    return f'{table(heads, rows)}\n\n{machine()}; rgb8 images from a camera process to the node.'


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=SECONDS, help='for which a camera sends')
    parser.add_argument(
        '--sizes', nargs='+', default=['854x480', '1280x720', '1920x1080'], help='WIDTHxHEIGHT'
    )
    parser.add_argument('--rates', type=float, nargs='+', default=[10.0, 30.0], help='Hz')
    parser.add_argument(
        '--reliability', nargs='+', default=['auto', 'best_effort'], help='of the node'
    )
    parser.add_argument('--note', default='', help='sentence about the conditions, for the table')
    parser.add_argument('--doc', type=Path, help='markdown file whose section to replace')
    args = parser.parse_args(argv)
    loads = [
        (height, width, rate)
        for width, height in (map(int, size.split('x')) for size in args.sizes)
        for rate in args.rates
    ]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        for reliability in args.reliability:
            # To a best-effort camera, both settings subscribe alike.
            cameras = [one for one in CAMERAS if one.reliable or reliability == 'auto']
            for camera, shares in measure(reliability, cameras, loads, args.seconds).items():
                found[reliability, camera] = shares
    publish(f'{describe(found)} {args.note}'.strip(), 'arrivals', args.doc)
    return 0


if __name__ == '__main__':
    main()
