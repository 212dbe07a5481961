# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the middlewares need that the launch files choose."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

ZENOH_ROUTER_PORT = 7447
"""Where rmw_zenohd listens, and the nodes look for it, with the default settings."""

UDP_BUFFER_BYTES = 4_194_304
"""Buffers that config/fastdds_udp.xml asks for."""

_LIMITS = Path('/proc/sys/net/core')


def zenoh_router_listens(port: int = ZENOH_ROUTER_PORT) -> bool:
    """Return whether something listens on the port of the Zenoh router on this machine."""
    try:
        with socket.create_connection(('localhost', port), timeout=0.5):
            return True
    except OSError:
        return False


def udp_warnings(environment: Mapping[str, str], limits: Path = _LIMITS) -> list[str]:
    """Return why images may be lost with config/fastdds_udp.xml, or not be sent by UDP at all.

    Args:
        environment: environment variables.
        limits: folder with the limits of the system for the buffers of sockets.
    """
    warnings = []
    small = []
    for name in ('rmem_max', 'wmem_max'):
        try:
            if int((limits / name).read_text()) < UDP_BUFFER_BYTES:
                small.append(f'net.core.{name}={UDP_BUFFER_BYTES}')
        except (OSError, ValueError):
            continue  # not shown in some containers
    if small:
        warnings.append(
            f'the UDP buffers of this system are too small for images: '
            f'sudo sysctl -w {" ".join(small)}'
        )
    local = [
        f'{name}={environment[name]}'
        for name, value in (
            ('ROS_LOCALHOST_ONLY', '1'),
            ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'),
        )
        if environment.get(name) == value
    ]
    if local:
        warnings.append(f'with {" ".join(local)} ROS uses shared memory all the same')
    return warnings
