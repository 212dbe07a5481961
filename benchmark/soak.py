# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Does the node stay well for long, whatever is sent to it?

    python -m benchmark.soak --minutes 10 [--plot docs/images/soak.png] [--doc docs/performance.md]
    python -m benchmark.soak --minutes 10 --model efficienttam_nano

A camera of 30 Hz, the node in a process of its own, and an operator who adds and removes an object
every second and in between does everything right and wrong that can be done over topics and
services (`benchmark.soak_operator`). The camera is killed with SIGKILL now and then and comes
back. Without `--model` a stand-in of 15 ms takes the place of the network, so that the node keeps
up with the camera.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark import graph
from benchmark.document import publish
from tam_ros.demo.processes import ChildProcess
from tam_ros.evaluation.timing import machine
from tam_ros.process_usage import private_bytes, resident_bytes

if TYPE_CHECKING:
    from benchmark.soak_operator import Operator

SIZE = (480, 640)
RATE_HZ = 30.0
MODEL_MS = 15.0
KILLS = 3
AWAY_S = 3.0
"""How long the camera is away after it was killed."""
STUCK_S = 20.0
"""After how long without a change the process of the visitors is taken to hang."""

OWN_FAULT = 'is not possible in the state'
"""In the log: a transition that the operator should not have asked for."""

MEMORY_LIMIT = 0.03
SETTLED = 0.4
"""Share of the run after which memory must no longer grow."""


@dataclass
class Record:
    """What was seen of the node each second.

    Attributes:
        seconds: since the start.
        rss: resident set size, bytes.
        private: the part of it that is not shared with other processes, bytes.
        threads: of the process.
        files: that it has open.
        results: published so far.
        objects: followed.
        visits: how often a subscriber came or went.
        stuck: how often the process of these subscribers had hung and was replaced.
        kills: when the camera was killed, seconds since the start.
        returns: for how many seconds nothing was published after the camera was back.
        log: what the node wrote.
        status: with which the node ended.
    """

    seconds: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    private: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    visits: int = 0
    stuck: int = 0
    kills: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    log: str = ''
    status: int | None = None

    def look(self, seconds: float, pid: int, operator: Operator) -> None:
        """Add the state of the moment."""
        self.seconds.append(seconds)
        self.rss.append(resident_bytes(pid))
        self.private.append(private_bytes(pid))
        self.threads.append(len(os.listdir(f'/proc/{pid}/task')))
        self.files.append(len(os.listdir(f'/proc/{pid}/fd')))
        self.results.append(len(operator.heard['objects']))
        self.objects.append(len(operator.objects))

    def growth(self, values: list[int]) -> float:
        """Return the last quarter beside the first one once settled, less one (medians)."""
        later = np.array(values[int(SETTLED * len(values)) :], float)
        quarter = max(1, len(later) // 4)
        return float(np.median(later[-quarter:]) / np.median(later[:quarter]) - 1)

    def slope_mb_per_hour(self) -> float:
        """Return how private memory grows, by a line through all of it once settled."""
        first = int(SETTLED * len(self.private))
        slope = np.polyfit(self.seconds[first:], np.array(self.private[first:], float), 1)[0]
        return float(slope * 3600 / 1e6)


def run(model: str | None, minutes: float, seed: int) -> tuple[Record, Operator]:
    """Run the graph.

    Args:
        model: of the catalogue, or None for the stand-in.
        minutes: how long.
        seed: of what the operator does.
    """
    from benchmark.soak_operator import Operator

    record, listener = Record(), graph.Listener('operator')
    operator = Operator(listener, SIZE, seed)
    arguments = graph.node_arguments(resize='opencv', max_dropped_warn=1.0)
    command = ['benchmark.stand_in', *arguments]
    if model:
        command = ['tam_ros.ros.node', *arguments, '-p', f'model:={model}', '-p', 'threads:=1']
    graph.set_model_cost(MODEL_MS)
    camera_command = graph.camera_command(SIZE, RATE_HZ, tell=True)
    visitor_command = ['benchmark.soak_visitor', '--seed', str(seed)]
    try:
        with graph.processes(command, camera_command, visitor_command) as children:
            graph.wait_for('results', lambda: operator.heard['objects'], 120, children)
            operator.fill()
            _use(record, operator, children, 60 * minutes)
            operator.settle(20)
            children[0].stop(15)
            record.status = children[0].exit_status()
            record.log = children[0].log.read_text(errors='replace')
    finally:
        listener.close()
    return record, operator


def _use(record: Record, operator: Operator, children: list[ChildProcess], seconds: float) -> None:
    node, camera, visitor = children
    visitors = Visitors(visitor, children)
    begin, second = time.monotonic(), 0
    kills = [seconds * (number + 1) / (KILLS + 1) for number in range(KILLS)]
    while (elapsed := time.monotonic() - begin) < seconds:
        if node.exit_status() is not None:
            raise RuntimeError(f'the node ended:\n{node.log_tail(40)}')
        if elapsed >= second:
            second += 1
            operator.every_second()
            record.look(elapsed, node.pid, operator)
            record.visits, record.stuck = visitors.look(time.monotonic())
        if kills and elapsed > kills[0]:
            kills.pop(0)
            record.kills.append(elapsed)
            _kill(camera)
            operator.now_and_then()
            time.sleep(AWAY_S)
            camera = ChildProcess(camera.name, _arguments(), camera.log)
            children.append(camera)  # so that it is ended, too
            record.returns.append(_wait_for_result(operator))
        operator.now_and_then()
        time.sleep(0.12)


class Visitors:
    """Sees to it that subscribers come and go, whatever becomes of their process."""

    def __init__(self, visitor: ChildProcess, children: list[ChildProcess]) -> None:
        self._visitor, self._children = visitor, children
        self._earlier = self._stuck = self._count = 0
        self._changed = time.monotonic()

    def look(self, now: float) -> tuple[int, int]:
        """Replace a process that hangs; return the visits and the processes that hung."""
        count = self._visitor.log.read_bytes().count(b'visit')
        if count != self._count:
            self._count, self._changed = count, now
        elif now - self._changed > STUCK_S:
            _kill(self._visitor)
            self._earlier += count
            self._stuck += 1
            self._count, self._changed = 0, now
            log = self._visitor.log.with_name(f'visitor_{self._stuck}.log')
            again = ['--seed', str(100 + self._stuck)]
            self._visitor = ChildProcess(self._visitor.name, again, log)
            self._children.append(self._visitor)  # so that it is ended, too
        return self._earlier + self._count, self._stuck


def _arguments() -> list[str]:
    return graph.camera_command(SIZE, RATE_HZ, tell=True)[1:]


def _kill(child: ChildProcess) -> None:
    """Kill a process as nothing else does, and remove the shared memory that it leaves behind."""
    os.kill(child.pid, signal.SIGKILL)
    child.stop()
    for lock in Path('/dev/shm').glob('fastrtps_*_el'):
        with contextlib.suppress(OSError), lock.open() as file:
            # Its owner holds it for life; what others own stays.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.with_name(lock.name.removesuffix('_el')).unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def _wait_for_result(operator: Operator, timeout_s: float = 30.0) -> float:
    """Return how long it takes until something is published; infinity: too long."""
    begin, known = time.monotonic(), len(operator.heard['objects'])
    while len(operator.heard['objects']) == known:
        if time.monotonic() - begin > timeout_s:
            return float('inf')
        time.sleep(0.02)
    return time.monotonic() - begin


def faults(record: Record, operator: Operator) -> list[str]:
    """Return everything that should not be."""
    found = [one for one in (request.wrong() for request in operator.requests) if one]
    for topic, headers in operator.heard.items():
        if wrong := set(headers) - operator.sent:
            found.append(f'{len(wrong)} headers on {topic} that no image had: {sorted(wrong)[:3]}')
        if len(headers) != len(set(headers)):
            found.append(f'{topic}: {len(headers) - len(set(headers))} headers came twice')
    found += [
        f'log: {line}'
        for line in record.log.splitlines()
        if re.search(r'Traceback|\[(ERROR|FATAL)\]|Error:', line) and OWN_FAULT not in line
    ]
    if record.growth(record.private) > MEMORY_LIMIT:
        found.append(f'memory grew by {record.growth(record.private):.1%}')
    for name in ('threads', 'files'):
        if record.growth(getattr(record, name)) > 0.1:
            found.append(f'open {name} grew: {getattr(record, name)[:: len(record.rss) // 10]}')
    if np.inf in record.returns:
        found.append('the camera came back, the results did not')
    gaps = np.diff(operator.diagnosed)
    if len(gaps) == 0 or gaps.max() > 5:
        found.append('diagnostics fell silent')
    if record.status != 0:
        found.append(f'the node ended with status {record.status}')
    return found


def describe(record: Record, operator: Operator, command: str, model: str) -> str:
    """Return the findings as markdown."""
    wrong = faults(record, operator)
    took = [one.answered - one.sent for one in operator.requests if one.answered is not None]
    settled = int(SETTLED * len(record.rss))
    own, rss = (np.array(one[settled:]) / 1e6 for one in (record.private, record.rss))
    away = AWAY_S * len(record.kills) + sum(end - begin for begin, end in operator.pauses)
    rate = (record.results[-1] - record.results[0]) / (record.seconds[-1] - away)
    acts = ', '.join(f'{count} x {name}' for name, count in sorted(operator.done.items()))
    lines = [
        f'`{command}`, {model}, {machine()}:',
        '',
        f'- {record.seconds[-1] / 60:.1f} minutes, {record.results[-1]} results '
        f'({rate:.1f} a second while there were images), {np.mean(record.objects):.1f} objects '
        f'on average, at most {max(record.objects)}.',
        f'- What was done: {acts}.',
        f'- Private memory once settled {own.min():.1f} to {own.max():.1f} MB, last quarter '
        f'beside first {record.growth(record.private):+.2%}, a line through it '
        f'{record.slope_mb_per_hour():+.1f} MB an hour. RSS, with the images that the processes '
        f'share, {rss.min():.0f} to {rss.max():.0f} MB. {record.threads[-1]} threads, '
        f'{record.files[-1]} open files.',
        f'- {len(operator.requests)} requests, {len(took)} answered, the slowest after '
        f'{max(took):.2f} s.',
        f'- Camera killed (SIGKILL) {len(record.kills)} times; results again after '
        + ', '.join(f'{one:.1f}' for one in record.returns)
        + ' s.',
        f'- Headers: {sum(map(len, operator.heard.values()))} outputs, each that of an image '
        f'that was sent: {"yes" if not any("headers" in one for one in wrong) else "**NO**"}.',
        f'- Subscribers came and went {record.visits} times, in a process of their own, '
        f'which hung {record.stuck} times.',
        '- Faults: **none**.'
        if not wrong
        else f'- **{len(wrong)} faults**: ' + '; '.join(dict.fromkeys(wrong)),
    ]
    return '\n'.join(lines)


def plot(record: Record, path: Path) -> None:
    """Draw memory, rate and objects over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout='constrained')
    memory, rate = figure.subplots(2, 1, sharex=True)
    minutes = np.array(record.seconds) / 60
    own, rss = (np.array(one) / 1e6 for one in (record.private, record.rss))
    settled = float(np.median(own[int(SETTLED * len(own)) :]))
    memory.axhspan(
        settled * (1 - MEMORY_LIMIT),
        settled * (1 + MEMORY_LIMIT),
        color='tab:green',
        alpha=0.15,
        label=f'{MEMORY_LIMIT:.0%} around its median',
    )
    memory.plot(minutes, own, linewidth=1.2, label='private memory')
    memory.plot(minutes, rss, linewidth=0.8, label='RSS, with shared images')
    memory.set_ylim(0, 1.25 * rss.max())
    memory.set_ylabel('memory, MB')
    rate.plot(
        minutes[1:],
        np.diff(record.results) / np.diff(record.seconds),
        linewidth=0.8,
        label='results a second',
    )
    rate.plot(minutes, record.objects, linewidth=0.8, label='objects')
    for number, kill in enumerate(record.kills):
        rate.axvline(
            kill / 60,
            color='tab:red',
            linewidth=1,
            linestyle=':',
            label=None if number else 'camera killed',
        )
    rate.set_ylim(0, 1.35 * RATE_HZ)
    rate.set_xlabel('minutes')
    for axis in (memory, rate):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, ncols=3, loc='upper right')
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Run, report, and return 1 where something should not be."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--model', help='of the catalogue, instead of the stand-in')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--plot', type=Path, help='picture to write')
    parser.add_argument('--log', type=Path, help="file for the node's log")
    parser.add_argument('--doc', type=Path, help='markdown file whose section to replace')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        record, operator = run(args.model, args.minutes, args.seed)
    command = f'python -m benchmark.soak --minutes {args.minutes:g}'
    if args.model:
        command += f' --model {args.model}'
    model = args.model or f'a stand-in of {MODEL_MS:g} ms'
    if args.log:
        args.log.write_text(record.log)
    if args.plot:
        plot(record, args.plot)
    section = 'soak-model' if args.model else 'soak'
    publish(describe(record, operator, command, model), section, args.doc)
    return 1 if faults(record, operator) else 0


if __name__ == '__main__':
    sys.exit(main())
