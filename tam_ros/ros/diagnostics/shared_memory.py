# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Detects that Fast DDS no longer delivers to a process through shared memory; Linux only.

Each participant receives through a port, a file `/dev/shm/fastrtps_port<number>` that others open
by name. If several processes repair a port at the same time, after one of them was killed, one
may remove the file that the owner of the port still reads. From then on new participants write to
a new file of the same name that no process reads. No API reports this; see
`SharedMemGlobal::open_port_internal` and `SharedMemSegment::open_or_create_and_lock_named_mutex`
of Fast DDS 2.14. docs/performance.md says how often it was observed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

FIRST_PORT = 7400
"""The lowest port of RTPS (PB in section 9.6.1.1 of its specification). Fast DDS has further ones
from 7000 on; when these were removed, new participants still reached the process.
"""

_LOCK = re.compile(r'(/dev/shm/fast(?:rtps|dds)_port(\d+))_el\b')
_MAPPED = re.compile(r'(\d+) +(/dev/shm/fast(?:rtps|dds)_port\d+)(?: \(deleted\))?$')


def lost_ports(pid: int | str = 'self') -> list[int]:
    """Return the ports of a process that others no longer reach, in ascending order.

    Ports are also replaced briefly during normal operation; see `PortWatch`.

    Args:
        pid: id of a process of the same user.

    Raises:
        OSError: the process does not exist, or belongs to another user.
    """
    return _lost(pid, _owned(pid))


def describe(ports: Sequence[int]) -> str:
    """Return a sentence for the user: what happened to these ports, and the remedy."""
    return (
        f'Fast DDS replaced the shared-memory port {", ".join(map(str, ports))} of this process: '
        'new publishers and clients no longer reach it; restart the node '
        '(config/fastdds_udp.xml avoids it)'
    )


class PortWatch:
    """Distinguishes ports that are permanently lost from ports that are just being replaced."""

    def __init__(self, pid: int | str = 'self') -> None:
        """Watch the ports of a process.

        Args:
            pid: id of the process.
        """
        self._pid = pid
        self._before: set[int] = set()
        self._good: dict[_Port, int | None] = {}

    def check(self) -> Sequence[int]:
        """Return the ports that are lost now and were lost at the previous call.

        Call it once a second.
        """
        try:
            owned = _owned(self._pid)
            # Reading what a process has mapped takes milliseconds. While the files are the same,
            # so is the result.
            if owned == self._good:
                now = set()
            else:
                now = set(_lost(self._pid, owned))
                self._good = {} if now else owned
        except OSError:  # no /proc, or the process has ended
            now = set()
        lost = sorted(now & self._before)
        self._before = now
        return lost


class _Port(NamedTuple):
    path: str
    number: int


def _owned(pid: int | str) -> dict[_Port, int | None]:
    """Return the ports of a process with the inodes of their files; None: there is no file."""
    owned: dict[_Port, int | None] = {}
    # The owner of a port keeps its lock file open.
    for descriptor in os.listdir(f'/proc/{pid}/fd'):
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            found = _LOCK.match(os.readlink(f'/proc/{pid}/fd/{descriptor}'))
            if found and int(found[2]) >= FIRST_PORT:
                owned[_Port(found[1], int(found[2]))] = _inode(found[1])
    return owned


def _lost(pid: int | str, owned: dict[_Port, int | None]) -> list[int]:
    """Return the numbers of those ports that the process has mapped, but not from their files."""
    mapped: dict[str, set[int]] = {}
    if owned:
        with open(f'/proc/{pid}/maps', encoding='utf-8', errors='replace') as file:
            for line in file:
                if '/dev/shm/' in line and (found := _MAPPED.search(line.rstrip('\n'))):
                    mapped.setdefault(found[2], set()).add(int(found[1]))
    return sorted(
        port.number
        for port, inode in owned.items()
        if port.path in mapped and inode not in mapped[port.path]
    )


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None
