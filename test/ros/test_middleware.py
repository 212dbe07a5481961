# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is said before nodes start with Zenoh, or with Fast DDS over UDP."""

from __future__ import annotations

import socket

from tam_ros.ros.middleware import UDP_BUFFER_BYTES, udp_warnings, zenoh_router_listens


def test_a_router_is_found():
    with socket.create_server(('localhost', 0)) as server:
        port = server.getsockname()[1]
        assert zenoh_router_listens(port)
    assert not zenoh_router_listens(port)


def test_small_buffers_are_reported(tmp_path):
    assert udp_warnings({}, tmp_path) == [], 'the limits are not known'
    (tmp_path / 'rmem_max').write_text('212992\n')
    (tmp_path / 'wmem_max').write_text(f'{UDP_BUFFER_BYTES}\n')
    (warning,) = udp_warnings({}, tmp_path)
    assert warning.endswith('sudo sysctl -w net.core.rmem_max=4194304')


def test_ros_overrules_the_profile_on_one_machine(tmp_path):
    environment = {'ROS_LOCALHOST_ONLY': '1', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'}
    (warning,) = udp_warnings(environment, tmp_path)
    assert warning.startswith('with ROS_LOCALHOST_ONLY=1 ROS uses shared memory')
    assert udp_warnings({'ROS_LOCALHOST_ONLY': '0'}, tmp_path) == []
