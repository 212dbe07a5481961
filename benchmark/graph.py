# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Shared by the benchmarks of the live node: an isolated graph of processes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark import stand_in
from tam_ros.demo.processes import ChildProcess
from tam_ros.ros.distribution import ON_THIS_MACHINE, PROFILE_VARIABLE

ROOT = Path(__file__).resolve().parent.parent
IMAGE = '/camera/image'
NODE = '/track_node'


def isolate(folder: Path, cores: int = 2) -> None:
    """Restrict to a few cores and a ROS domain of its own. Call it before rclpy is imported.

    Args:
        folder: folder for the logs.
        cores: number of cores for this process and those that it starts.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ['ROS_DOMAIN_ID'] = str(60 + os.getpid() % 40)
    os.environ.update(ON_THIS_MACHINE)
    os.environ['ROS_LOG_DIR'] = str(folder)
    profile = ROOT / 'config' / 'fastdds_images.xml'
    os.environ.setdefault(PROFILE_VARIABLE, str(profile))
    # The child processes import the modules of the benchmarks.
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])


@contextmanager
def processes(*commands: Sequence[str]) -> Iterator[list[ChildProcess]]:
    """Run modules as processes; they are ended when the block ends.

    Args:
        commands: each the name of a module and its arguments.
    """
    with tempfile.TemporaryDirectory() as folder:
        started: list[ChildProcess] = []
        try:
            for module, *arguments in commands:
                log = Path(folder) / f'{len(started)}.log'
                started.append(ChildProcess(module, list(arguments), log))
            yield started
        finally:
            for child in started:
                child.stop()


def camera_command(
    size: tuple[int, int],
    rate_hz: float = 30.0,
    topic: str = IMAGE,
    publish_headers: bool = False,
) -> list[str]:
    """Return the command of a camera with images of the size (height, width)."""
    arguments = ['--size', f'{size[1]}x{size[0]}', '--rate', str(rate_hz)]
    arguments += ['--publish-headers'] * publish_headers
    remaps = ['-r', f'image:={topic}', '-r', f'sent:={topic.rpartition("/")[0]}/sent']
    return ['benchmark.camera', *arguments, '--ros-args', *remaps]


def node_arguments(topic: str = IMAGE, **parameters: Any) -> list[str]:
    """Return the ROS arguments of a node that listens to that camera."""
    return ['--ros-args', '-r', f'image:={topic}'] + [
        word for name, value in parameters.items() for word in ('-p', f'{name}:={_yaml(value)}')
    ]


def set_model_cost(milliseconds: float) -> None:
    """Set the duration of the stand-in's model in processes that are started afterwards."""
    os.environ[stand_in.COST_MS] = str(milliseconds)


def wait_for(what: str, condition: Any, timeout_s: float, children: list[ChildProcess]) -> None:
    """Wait until a condition holds.

    Raises:
        RuntimeError: timeout, or a process ended; contains the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        for child in children:
            if child.exit_status() is not None:
                raise RuntimeError(f'{child.name} ended:\n{child.log_tail()}')
        if time.monotonic() > deadline:
            tails = '\n'.join(child.log_tail() for child in children)
            raise RuntimeError(f'waited {timeout_s:g} s for {what}:\n{tails}')
        time.sleep(0.02)


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
