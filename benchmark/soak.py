# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A soak test: whether the node stays healthy for a long time, whatever is sent to it.

    python -m benchmark.soak --minutes 10 [--plot docs/images/soak.png] [--doc docs/performance.md]
    python -m benchmark.soak --minutes 10 --model efficienttam_nano

A camera of 30 Hz, the node in a process of its own, and an operator that adds and removes an
object every second. In between it sends valid and invalid requests of every kind over topics and
services (`benchmark.soak_operator`). The camera is killed with SIGKILL several times and started
again. Without `--model` a stand-in of 15 ms replaces the network, so that the node keeps up with
the camera.

Exit status: 0 no faults, 1 faults of the node, 2 inconclusive: Fast DDS no longer delivered to one
of the processes. Such a run ends early, and what follows from it is not counted as a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark import graph
from benchmark.document import publish
from tam_ros.demo.processes import ChildProcess
from tam_ros.evaluation.timing import machine
from tam_ros.process_usage import private_bytes, resident_bytes
from tam_ros.ros.diagnostics.shared_memory import PortWatch

if TYPE_CHECKING:
    from benchmark.soak_operator import Operator

SIZE = (480, 640)
RATE_HZ = 30.0
MODEL_MS = 15.0
KILLS = 3
AWAY_S = 3.0
"""Seconds between the kill of the camera and its next start."""
HANG_S = 20.0
"""Seconds without a change after which the process of the visitors is assumed to hang."""
ANSWER_S = 20.0
"""Seconds to wait for answers at the end."""
SILENT_S = 15.0
"""Seconds without diagnostics that are a fault. The node publishes them each second."""

NOT_OF_THE_NODE = (
    'is not possible in the state',  # a transition that the operator should not have requested
    'Fast DDS replaced',  # see `lost`
)
"""Errors in the log that are not faults of the node."""
UNANSWERED = 'was not answered'

MEMORY_LIMIT = 0.03
SETTLED = 0.4
"""Share of the run after which memory must no longer grow."""
INCONCLUSIVE = 2
"""Exit status of an inconclusive run."""


@dataclass
class Record:
    """The state of the node, sampled each second.

    Attributes:
        seconds: times of the samples since the start.
        rss: resident set size, bytes.
        private: the part of it that is not shared with other processes, bytes.
        threads: number of threads of the process.
        files: number of open files.
        results: number of results published so far.
        objects: number of tracked objects.
        visits: how often a subscriber was created or destroyed by the visitors.
        hangs: how often the process of the visitors hung and was replaced.
        kills: when the camera was killed, seconds since the start.
        returns: seconds without results after each restart of the camera.
        transport: failures of the middleware that were found; any of them ends the run.
        end: when the node was stopped, monotonic seconds.
        log: output of the node.
        status: exit status of the node.
    """

    seconds: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    private: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    visits: int = 0
    hangs: int = 0
    kills: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    transport: list[str] = field(default_factory=list)
    end: float = 0.0
    log: str = ''
    status: int | None = None

    def sample(self, seconds: float, pid: int, operator: Operator) -> None:
        """Append the current state."""
        self.seconds.append(seconds)
        self.rss.append(resident_bytes(pid))
        self.private.append(private_bytes(pid))
        self.threads.append(len(os.listdir(f'/proc/{pid}/task')))
        self.files.append(len(os.listdir(f'/proc/{pid}/fd')))
        self.results.append(len(operator.heard['objects']))
        self.objects.append(len(operator.objects))

    def growth(self, values: list[int]) -> float:
        """Return the relative growth from the first to the last quarter once settled (medians)."""
        later = np.array(values[int(SETTLED * len(values)) :], float)
        quarter = max(1, len(later) // 4)
        return float(np.median(later[-quarter:]) / np.median(later[:quarter]) - 1)

    def slope_mb_per_hour(self) -> float:
        """Return the slope of a line through private memory once settled."""
        first = int(SETTLED * len(self.private))
        if len(self.private) - first < 2:
            return float('nan')
        slope = np.polyfit(self.seconds[first:], np.array(self.private[first:], float), 1)[0]
        return float(slope * 3600 / 1e6)


def run(model: str | None, minutes: float, seed: int) -> tuple[Record, Operator]:
    """Run the graph.

    Args:
        model: name in the catalogue, or None for the stand-in.
        minutes: duration.
        seed: seed of the operator's random actions.
    """
    from benchmark.soak_operator import Operator
    from tam_ros.client import TamClient

    record, client = Record(), TamClient(graph.NODE)
    operator = Operator(client, SIZE, seed)
    arguments = graph.node_arguments(resize='opencv', max_dropped_warn=1.0)
    command = ['benchmark.stand_in', *arguments]
    if model:
        command = ['tam_ros.ros.track_node', *arguments, '-p', f'model:={model}']
        command += ['-p', 'threads:=1']
    graph.set_model_cost(MODEL_MS)
    camera_command = graph.camera_command(SIZE, RATE_HZ, publish_headers=True)
    visitor_command = ['benchmark.soak_visitor', '--seed', str(seed)]
    try:
        with graph.processes(command, camera_command, visitor_command) as children:
            graph.wait_for('results', lambda: operator.heard['objects'], 120, children)
            operator.fill()
            _exercise(record, operator, children, 60 * minutes)
            if not record.transport and not operator.settle(ANSWER_S) and cut_off(operator):
                record.transport.append(
                    'the node answers a new participant, but no longer the operator'
                )
            record.end = time.monotonic()
            children[0].stop(15)
            record.status = children[0].exit_status()
            record.log = children[0].log.read_text(errors='replace')
    finally:
        client.close()
    return record, operator


def _exercise(
    record: Record, operator: Operator, children: list[ChildProcess], seconds: float
) -> None:
    node, camera, visitor = children
    visitors = Visitors(visitor, children)
    ports = {'node': PortWatch(node.pid), 'operator': PortWatch(), 'camera': PortWatch(camera.pid)}
    begin, second = time.monotonic(), 0
    kills = [seconds * (number + 1) / (KILLS + 1) for number in range(KILLS)]
    while (elapsed := time.monotonic() - begin) < seconds and not record.transport:
        if node.exit_status() is not None:
            raise RuntimeError(f'the node ended:\n{node.log_tail(40)}')
        if elapsed >= second:
            second += 1
            operator.every_second()
            record.sample(elapsed, node.pid, operator)
            record.visits, record.hangs = visitors.check(time.monotonic())
            record.transport += lost(ports)
        if kills and elapsed > kills[0]:
            kills.pop(0)
            record.kills.append(elapsed)
            _kill(camera)
            operator.random_action()
            time.sleep(AWAY_S)
            camera = ChildProcess(camera.name, _arguments(), camera.log)
            ports['camera'] = PortWatch(camera.pid)
            children.append(camera)  # so that it is stopped as well
            record.returns.append(_wait_for_result(operator, lambda: lost(ports)))
        operator.random_action()
        time.sleep(0.12)


def lost(ports: dict[str, PortWatch]) -> list[str]:
    """Return the processes that Fast DDS no longer reaches through shared memory."""
    return [
        f'Fast DDS replaced port {", ".join(map(str, numbers))} of the {name}, which no longer '
        'receives from new participants'
        for name, watch in ports.items()
        if (numbers := watch.check())
    ]


def cut_off(operator: Operator, timeout_s: float = ANSWER_S) -> bool:
    """Return whether the node answers a new participant, but not the operator's."""
    from rcl_interfaces.srv import GetParameters

    from tam_ros.client import TamClient

    if operator.is_answered(timeout_s):
        return False
    with TamClient(graph.NODE, timeout=timeout_s) as newcomer:  # a participant of its own
        try:
            request = GetParameters.Request(names=['model'])
            newcomer.call(GetParameters, 'get_parameters', request)
        except TimeoutError:
            return False
    return True


class Visitors:
    """Keeps a process running in which subscribers are created and destroyed."""

    def __init__(self, visitor: ChildProcess, children: list[ChildProcess]) -> None:
        """Watch a visitor.

        Args:
            visitor: running process of `benchmark.soak_visitor`.
            children: list to which processes that replace it are added.
        """
        self._visitor, self._children = visitor, children
        self._earlier = self._hangs = self._count = 0
        self._changed = time.monotonic()

    def check(self, now: float) -> tuple[int, int]:
        """Replace the process if it hangs.

        Args:
            now: monotonic seconds.

        Returns:
            Number of visits and number of hangs since the start.
        """
        count = self._visitor.log.read_bytes().count(b'visit')
        if count != self._count:
            self._count, self._changed = count, now
        elif now - self._changed > HANG_S:
            _kill(self._visitor)
            self._earlier += count
            self._hangs += 1
            self._count, self._changed = 0, now
            log = self._visitor.log.with_name(f'visitor_{self._hangs}.log')
            again = ['--seed', str(100 + self._hangs)]
            self._visitor = ChildProcess(self._visitor.name, again, log)
            self._children.append(self._visitor)  # so that it is stopped as well
        return self._earlier + self._count, self._hangs


def _arguments() -> list[str]:
    return graph.camera_command(SIZE, RATE_HZ, publish_headers=True)[1:]


def _kill(child: ChildProcess) -> None:
    """Kill a process with SIGKILL, and remove the shared memory that it leaves behind.

    Only its own segments, 64 MiB each. Its ports remain: Fast DDS must cope with them, as on a
    robot.
    """
    segments = []
    for descriptor in Path(f'/proc/{child.pid}/fd').iterdir():
        with contextlib.suppress(OSError):  # closed in the meantime
            segments += re.findall(
                r'^(/dev/shm/fastrtps_[0-9a-f]{16})_el$', os.readlink(descriptor)
            )
    os.kill(child.pid, signal.SIGKILL)
    child.stop()
    for segment in segments:
        Path(segment).unlink(missing_ok=True)
        Path(f'{segment}_el').unlink(missing_ok=True)


def _wait_for_result(
    operator: Operator, failed: Callable[[], object], timeout_s: float = 30.0
) -> float:
    """Return the seconds until something is published; infinity: too long, or it failed."""
    begin, known = time.monotonic(), len(operator.heard['objects'])
    check = begin + 1
    while len(operator.heard['objects']) == known:
        now = time.monotonic()
        if now > check:
            check = now + 1
            if failed():
                return float('inf')
        if now - begin > timeout_s:
            return float('inf')
        time.sleep(0.02)
    return time.monotonic() - begin


def faults(record: Record, operator: Operator) -> list[str]:
    """Return the faults of the node.

    Where the middleware failed, an answer, result or diagnostic message that is missing says
    nothing about the node, nor does the memory of a run that ended early.
    """
    conclusive = not record.transport
    found = [one for one in (request.wrong() for request in operator.requests) if one]
    if not conclusive:
        found = [one for one in found if UNANSWERED not in one]
    for topic, headers in operator.heard.items():
        if wrong := set(headers) - operator.sent:
            found.append(f'{len(wrong)} headers on {topic} that no image had: {sorted(wrong)[:3]}')
        if len(headers) != len(set(headers)):
            found.append(f'{topic}: {len(headers) - len(set(headers))} headers arrived twice')
    found += [
        f'log: {line}'
        for line in record.log.splitlines()
        if re.search(r'Traceback|\[(ERROR|FATAL)\]|Error:', line)
        and not any(words in line for words in NOT_OF_THE_NODE)
    ]
    if record.status != 0:
        found.append(f'the node ended with status {record.status}')
    return found + (_faults_over_time(record, operator) if conclusive else [])


def _faults_over_time(record: Record, operator: Operator) -> list[str]:
    found = []
    if record.growth(record.private) > MEMORY_LIMIT:
        found.append(f'memory grew by {record.growth(record.private):.1%}')
    for name in ('threads', 'files'):
        if record.growth(getattr(record, name)) > 0.1:
            found.append(f'open {name} grew: {getattr(record, name)[:: len(record.rss) // 10]}')
    if np.inf in record.returns:
        found.append('the camera was restarted, but no results followed')
    if not operator.diagnosed or np.diff([*operator.diagnosed, record.end]).max() > SILENT_S:
        found.append('diagnostics stopped')
    return found


def describe(record: Record, operator: Operator, command: str, model: str) -> str:
    """Return the findings as markdown."""
    wrong = faults(record, operator)
    took = [one.answered - one.sent for one in operator.requests if one.answered is not None]
    settled = int(SETTLED * len(record.rss))
    private, rss = (np.array(one[settled:]) / 1e6 for one in (record.private, record.rss))
    away = AWAY_S * len(record.kills) + sum(end - begin for begin, end in operator.pauses)
    rate = (record.results[-1] - record.results[0]) / max(record.seconds[-1] - away, 1)
    actions = ', '.join(f'{count} x {name}' for name, count in sorted(operator.done.items()))
    lines = [
        f'`{command}`, {model}, {machine()}:',
        '',
        f'- {record.seconds[-1] / 60:.1f} minutes, {record.results[-1]} results '
        f'({rate:.1f} per second while there were images), {np.mean(record.objects):.1f} objects '
        f'on average, at most {max(record.objects)}.',
        f'- Actions: {actions}.',
        f'- Private memory once settled {private.min():.1f} to {private.max():.1f} MB, growth '
        f'from the first to the last quarter {record.growth(record.private):+.2%}, slope '
        f'{record.slope_mb_per_hour():+.1f} MB per hour. RSS, which includes shared images, '
        f'{rss.min():.0f} to {rss.max():.0f} MB. {record.threads[-1]} threads, '
        f'{record.files[-1]} open files.',
        f'- {len(operator.requests)} requests, {len(took)} answered, the slowest after '
        f'{max(took, default=np.nan):.2f} s.',
        f'- Camera killed (SIGKILL) {len(record.kills)} times; results again after '
        + ', '.join(f'{one:.1f}' for one in record.returns)
        + ' s.',
        f'- Headers: {sum(map(len, operator.heard.values()))} outputs, each with the header of an '
        f'image that was sent: {"**NO**" if any("headers" in one for one in wrong) else "yes"}.',
        f'- Subscribers were created or destroyed {record.visits} times, in a separate process, '
        f'which hung {record.hangs} times.',
    ]
    if record.transport:
        lines.append(f'- **Inconclusive**, ended early: {"; ".join(record.transport)}.')
    lines.append(
        f'- **{len(wrong)} faults**: ' + '; '.join(dict.fromkeys(wrong))
        if wrong
        else '- Faults: **none**.'
    )
    return '\n'.join(lines)


def plot(record: Record, path: Path) -> None:
    """Draw memory, rate and objects over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout='constrained')
    memory, rate = figure.subplots(2, 1, sharex=True)
    minutes = np.array(record.seconds) / 60
    private, rss = (np.array(one) / 1e6 for one in (record.private, record.rss))
    settled = float(np.median(private[int(SETTLED * len(private)) :]))
    memory.axhspan(
        settled * (1 - MEMORY_LIMIT),
        settled * (1 + MEMORY_LIMIT),
        color='tab:green',
        alpha=0.15,
        label=f'{MEMORY_LIMIT:.0%} around the median',
    )
    memory.plot(minutes, private, linewidth=1.2, label='private memory')
    memory.plot(minutes, rss, linewidth=0.8, label='RSS, with shared images')
    memory.set_ylim(0, 1.25 * rss.max())
    memory.set_ylabel('memory, MB')
    rate.plot(
        minutes[1:],
        np.diff(record.results) / np.diff(record.seconds),
        linewidth=0.8,
        label='results per second',
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
    """Run and report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--model', help='name in the catalogue, instead of the stand-in')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--plot', type=Path, help='plot to write')
    parser.add_argument('--log', type=Path, help="file to write the node's log to")
    parser.add_argument('--doc', type=Path, help='markdown file to update')
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
    # What a document says must be about the node.
    document = None if record.transport else args.doc
    publish(describe(record, operator, command, model), section, document)
    if faults(record, operator):
        return 1
    return INCONCLUSIVE if record.transport else 0


if __name__ == '__main__':
    sys.exit(main())
