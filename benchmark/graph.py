# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What benchmarks of the live node share: a graph of processes, apart from all others."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark import stand_in
from tam_ros.demo.processes import ChildProcess

ROOT = Path(__file__).resolve().parent.parent
IMAGE = '/camera/image'
NODE = '/track_node'


def isolate(folder: Path, cores: int = 2) -> None:
    """Keep to a few cores and to a ROS domain of our own; to be called before rclpy is loaded.

    Args:
        folder: for logs.
        cores: that this process and those it starts may use.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ['ROS_DOMAIN_ID'] = str(60 + os.getpid() % 40)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_LOG_DIR'] = str(folder)
    profile = ROOT / 'config' / 'fastdds_images.xml'
    os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', str(profile))
    # The processes find the modules of the benchmarks.
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])


class Listener:
    """Subscribes to topics and serves them in a thread of its own.

    Attributes:
        node: for publishers and clients.
    """

    def __init__(self, name: str = 'listener') -> None:
        """Make the node."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def call(self, kind: type, name: str, request: Any, timeout_s: float = 20.0) -> Any:
        """Call a service and return its answer.

        Raises:
            TimeoutError: there is none.
        """
        client = self.node.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_s):
                raise TimeoutError(f'no service {name}')
            done = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(lambda _: done.set())
            if not done.wait(timeout_s):
                raise TimeoutError(f'{name} does not answer')
            return future.result()
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        """End."""
        self._executor.shutdown()
        self._thread.join(5)
        self.node.destroy_node()
        self._context.try_shutdown()


@contextmanager
def processes(*commands: Sequence[str]) -> Iterator[list[ChildProcess]]:
    """Run modules as processes; they are gone when the block ends.

    Args:
        commands: the name of a module and its arguments each.
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
    size: tuple[int, int], rate_hz: float = 30.0, topic: str = IMAGE, tell: bool = False
) -> list[str]:
    """Return the command of a camera of images (height, width)."""
    arguments = ['--size', f'{size[1]}x{size[0]}', '--rate', str(rate_hz)]
    arguments += ['--tell'] * tell
    remaps = ['-r', f'image:={topic}', '-r', f'sent:={topic.rpartition("/")[0]}/sent']
    return ['benchmark.camera', *arguments, '--ros-args', *remaps]


def node_arguments(topic: str = IMAGE, **parameters: Any) -> list[str]:
    """Return the ROS arguments of a node on that camera."""
    return ['--ros-args', '-r', f'image:={topic}'] + [
        word for name, value in parameters.items() for word in ('-p', f'{name}:={_yaml(value)}')
    ]


def set_model_cost(milliseconds: float) -> None:
    """Say what the stand-in takes in processes that are started from now on."""
    os.environ[stand_in.COST_MS] = str(milliseconds)


def wait_for(what: str, condition: Any, timeout_s: float, children: list[ChildProcess]) -> None:
    """Wait until a condition holds.

    Raises:
        RuntimeError: it does not, in time, or a process has ended; shows the end of its log.
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
