# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the operating system says of a process; Linux only."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes(pid: int | str = 'self') -> int:
    """Return the resident set size (RSS) of a process.

    Raises:
        OSError: no such process.
    """
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def private_bytes(pid: int | str = 'self') -> int:
    """Return the part of RSS that is the process's own: no files, no memory shared with others.

    Images come and go through memory that the processes of a ROS graph share; how much of it is
    resident in one of them depends on the others.

    Raises:
        OSError: no such process.
    """
    status = Path(f'/proc/{pid}/status').read_text()
    return 1024 * int(status.partition('RssAnon:')[2].split(maxsplit=1)[0])


def processor_seconds(pid: int | str = 'self') -> float:
    """Return the processor time that all threads of a process have taken, user and system.

    Raises:
        OSError: no such process.
    """
    # The name, in brackets, may hold spaces.
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
