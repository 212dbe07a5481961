# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the demo and `make play` have in common: a graph of their own, and the node in it."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import shutil
from pathlib import Path

from tam_ros.catalogue import engines_dir
from tam_ros.demo.processes import DemoError
from tam_ros.ros.distribution import ON_THIS_MACHINE, PROFILE_VARIABLE

_SHARED_MEMORY = 4 * 70_000_000  # bytes: our processes with config/fastdds_images.xml


def require_ros() -> None:
    """Refuse an environment without ROS.

    Raises:
        DemoError: what is missing.
    """
    for name in ('rclpy', 'tam_ros.msg'):
        if importlib.util.find_spec(name) is None:
            raise DemoError(
                f'{name} is not in this environment: run `make demo`, or `. ./env.sh` first'
            )


def isolate(out: Path) -> None:
    """Isolate this graph from others on the machine. Call it before rclpy is imported."""
    os.environ['ROS_DOMAIN_ID'] = str(60 + os.getpid() % 40)
    os.environ['ROS_LOG_DIR'] = str(out / 'logs')
    os.environ.update(ON_THIS_MACHINE)
    if _free_shared_memory() >= _SHARED_MEMORY:
        profile = engines_dir().parent / 'config' / 'fastdds_images.xml'
        os.environ.setdefault(PROFILE_VARIABLE, str(profile))
    else:
        print('demo: too little shared memory (/dev/shm) for images, using UDP instead')
        os.environ.pop(PROFILE_VARIABLE, None)
        os.environ['FASTDDS_BUILTIN_TRANSPORTS'] = 'UDPv4'
    (out / 'logs').mkdir(exist_ok=True)


def _free_shared_memory() -> int:
    try:
        return shutil.disk_usage('/dev/shm').free
    except OSError:
        return 0


def node_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments of the node for the options `model`, `weights` and `runtime`."""
    values = {
        'model': options.model,
        'weights': options.weights,
        'runtime': options.runtime,
        # One of the objects leaves the image for seconds, and the small model would forget it.
        'skip_occluded_memories': 'true',
        # Containers often have too little shared memory for images. Only the node should drop
        # images, not the transport.
        'qos_reliability': 'reliable',
    }
    parameters = itertools.chain.from_iterable(
        ('-p', f'{name}:={value}') for name, value in values.items() if value
    )
    return ['--ros-args', *parameters]
