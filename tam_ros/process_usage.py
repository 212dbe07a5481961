# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Memory and processor time of a process, from /proc; Linux only."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes(pid: int | str = 'self') -> int:
    """Return the resident set size (RSS) of a process.

    Raises:
        OSError: the process does not exist.
    """
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def private_bytes(pid: int | str = 'self') -> int:
    """Return the anonymous part of RSS, without files and shared memory.

    The processes of a ROS graph exchange images through shared memory. How much of it counts as
    resident in one process depends on the others.

    Raises:
        OSError: the process does not exist.
    """
    status = Path(f'/proc/{pid}/status').read_text()
    return 1024 * int(status.partition('RssAnon:')[2].split(maxsplit=1)[0])


def processor_seconds(pid: int | str = 'self') -> float:
    """Return the processor time used by all threads of a process, user and system, in seconds.

    Raises:
        OSError: the process does not exist.
    """
    # The process name, in parentheses, may contain spaces.
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
