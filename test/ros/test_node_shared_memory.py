# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A node that Fast DDS cuts off from new participants reports it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from fakes.colour_tracker import picture

from tam_ros.ros.diagnostics.shared_memory import FIRST_PORT, lost_ports


def owned_ports(pid):
    """Return the files of the shared-memory ports that a process owns."""
    links = [os.readlink(one) for one in Path(f'/proc/{pid}/fd').iterdir()]
    found = [re.fullmatch(r'(/dev/shm/fastrtps_port(\d+))_el', link) for link in links]
    return [Path(one[1]) for one in found if one and int(one[2]) >= FIRST_PORT]


@pytest.fixture
def cut_off(graph):
    """A node whose port is removed as in the race inside Fast DDS, and a peer met before."""
    node, peer = graph
    ports = owned_ports(node.process.pid)
    if not ports:
        pytest.skip('this middleware has no shared memory of Fast DDS 2')
    assert lost_ports(node.process.pid) == []
    for port in ports:
        port.unlink()
    return node, peer


def test_a_lost_port_is_an_error_that_names_the_remedy(cut_off):
    node, peer = cut_off
    status, values = peer.diagnostics(lambda _, values: values.get('lost_ports'))
    assert status.level == DiagnosticStatus.ERROR
    assert status.name.endswith(': input')
    assert 'restart the node' in status.message
    assert list(map(int, values['lost_ports'].split(', '))) == lost_ports(node.process.pid)
    assert node.log.count('restart the node') == 1
    # Participants from before are still served.
    peer.track(picture())
