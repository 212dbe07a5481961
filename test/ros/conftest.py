# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures that run nodes in processes of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fakes.colour_tracker import picture

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
NODE_ARGUMENTS = ('--ros-args', '-r', 'image:=/camera/image', '-p', 'qos_reliability:=reliable')
TESTS = HERE.parent
COLOUR_NODE = (sys.executable, str(HERE / 'fake_track_node.py'))

# Set before rclpy reads them: a domain for each run on this machine, and no traffic beyond it. The
# demo uses domains from 60.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 59)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@pytest.fixture(scope='session')
def ros(tmp_path_factory):
    """Initialise rclpy once; skip if ROS or the compiled messages are missing."""
    rclpy = pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    os.environ['ROS_LOG_DIR'] = str(tmp_path_factory.mktemp('ros_log'))
    from rclpy.signals import SignalHandlerOptions
    from rosidl_generator_py import import_type_support

    try:
        import_type_support('tam_ros')
    except ImportError as error:
        pytest.skip(f'the messages are not compiled or not found (. ./env.sh): {error}')
    # pytest handles Ctrl-C and ends the nodes.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def start(ros, tmp_path):
    """Start nodes, which end with the test."""
    from ros_graph import NodeProcess

    started = []

    def start(*ros_args, command=COLOUR_NODE, arguments=NODE_ARGUMENTS, **environment):
        log = tmp_path / f'node{len(started)}.log'
        path = f'{TESTS}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'  # for the fakes
        environment = {'PYTHONPATH': path, **environment}
        node = NodeProcess([*command, *arguments, *ros_args], log, environment)
        started.append(node)
        return node

    yield start
    for node in started:
        node.end()
        print(node.log)  # shown by pytest if the test fails


@pytest.fixture
def make_peer(ros):
    """Make peers, which end with the test."""
    from ros_graph import Peer

    peers = []

    def make(**options):
        peers.append(Peer(**options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def graph(start, make_peer):
    """A running node, and a peer that exchanges messages with it."""
    node, peer = start(), make_peer()
    peer.meet(node, picture())
    return node, peer
