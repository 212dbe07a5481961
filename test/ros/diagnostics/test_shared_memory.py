# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Ports of Fast DDS that their owner still reads and others no longer find."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from tam_ros.ros.diagnostics.shared_memory import PortWatch, lost_ports

NUMBER = 900_000 + os.getpid() % 100_000  # beyond all real ports


@pytest.fixture
def port():
    """A port that this process owns, as Fast DDS makes one."""
    path = Path(f'/dev/shm/fastrtps_port{NUMBER}')
    lock = path.with_name(f'{path.name}_el')
    path.write_bytes(bytes(4096))
    lock.touch()
    with path.open('r+b') as file, lock.open(), mmap.mmap(file.fileno(), 4096):
        yield path
    path.unlink(missing_ok=True)
    lock.unlink()


def ours(ports):
    return [number for number in ports if number == NUMBER]


def test_a_port_that_others_find_is_not_lost(port):
    assert ours(lost_ports()) == []


def test_a_removed_port_is_lost(port):
    port.unlink()
    assert ours(lost_ports()) == [NUMBER]
    assert ours(lost_ports(os.getpid())) == [NUMBER]


def test_a_replaced_port_is_lost_until_its_owner_reads_the_new_file(port):
    port.unlink()
    port.write_bytes(bytes(4096))
    assert ours(lost_ports()) == [NUMBER]
    with port.open('r+b') as file, mmap.mmap(file.fileno(), 4096):
        assert ours(lost_ports()) == []


def test_a_port_of_another_process_does_not_count(port):
    port.with_name(f'{port.name}_el').rename(port.with_name(f'{port.name}_sl'))
    port.unlink()
    assert ours(lost_ports()) == []
    port.with_name(f'{port.name}_sl').rename(port.with_name(f'{port.name}_el'))


def test_the_watch_reports_what_it_sees_twice(port):
    watch = PortWatch()
    port.unlink()
    assert ours(watch.check()) == []
    assert ours(watch.check()) == [NUMBER]
    port.write_bytes(bytes(4096))
    with port.open('r+b') as file, mmap.mmap(file.fileno(), 4096):
        assert ours(watch.check()) == []


def test_a_process_that_has_ended_has_lost_nothing():
    watch = PortWatch(2**22 + 1)  # above the largest process id of Linux
    assert watch.check() == watch.check() == []
