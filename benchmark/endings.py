# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whether a signal always ends an idle node, and how long that takes.

    python -m benchmark.endings --tries 100 --signal SIGTERM

One node after the other is started, with a model that costs nothing, and gets the signal at a
random time in the first third of a second after it has begun to wait for images.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark import graph

READY = 'waiting for images'
START_S, END_S = 60.0, 20.0


def end_one(number: signal.Signals, log: Path) -> tuple[int | None, float]:
    """Start a node and end it with a signal.

    Returns:
        Its exit status, None if it hangs, and the seconds that it took.
    """
    with log.open('wb') as output:
        node = subprocess.Popen(
            [sys.executable, '-m', 'benchmark.stand_in'], stdout=output, stderr=output
        )
    try:
        latest = time.monotonic() + START_S
        while READY not in log.read_text(errors='replace'):
            if node.poll() is not None or time.monotonic() > latest:
                raise RuntimeError(f'the node does not start:\n{log.read_text(errors="replace")}')
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 1 / 3))
        begin = time.monotonic()
        node.send_signal(number)
        try:
            return node.wait(END_S), time.monotonic() - begin
        except subprocess.TimeoutExpired:
            return None, END_S
    finally:
        if node.poll() is None:
            node.kill()
            node.wait()


def main() -> None:
    """Print how the tries ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tries', type=int, default=100)
    parser.add_argument('--signal', default='SIGTERM', choices=('SIGTERM', 'SIGHUP', 'SIGINT'))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        log = Path(folder) / 'node.log'
        ends = [end_one(signal.Signals[options.signal], log) for _ in range(options.tries)]
    statuses = [status for status, _ in ends]
    seconds = sorted(took for _, took in ends)
    print(
        f'{options.signal}: {statuses.count(None)} of {len(ends)} hung, {statuses.count(0)} ended '
        f'with status 0; median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s'
    )


if __name__ == '__main__':
    main()
