# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the live graph."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
NODE_ARGUMENTS = ('--ros-args', '-r', 'image:=/camera/image', '-p', 'qos_reliability:=reliable')
COLOUR_NODE = (sys.executable, str(HERE / 'fake_track_node.py'))

from ros_graph import NodeProcess, Peer, picture  # noqa: E402

# Before rclpy reads them: another domain for every run on this machine, and nothing beyond it. The
# demo takes its own from 60 on.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 59)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@pytest.fixture(scope='session')
def ros(tmp_path_factory):
    """Initialise rclpy once; skip where ROS or the compiled messages are missing."""
    rclpy = pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    os.environ['ROS_LOG_DIR'] = str(tmp_path_factory.mktemp('ros_log'))
    from rclpy.signals import SignalHandlerOptions
    from rosidl_generator_py import import_type_support

    try:
        import_type_support('tam_ros')
    except ImportError as error:
        pytest.skip(f'the messages are not compiled or not found (. ./env.sh): {error}')
    # Ctrl-C belongs to pytest, which then ends the nodes.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def start(ros, tmp_path):
    """Start nodes; they are gone when the test ends."""
    started = []

    def start(*ros_args, command=COLOUR_NODE, arguments=NODE_ARGUMENTS, **environment):
        log = tmp_path / f'node{len(started)}.log'
        node = NodeProcess([*command, *arguments, *ros_args], log, environment)
        started.append(node)
        return node

    yield start
    for node in started:
        node.end()
        print(node.log)  # pytest shows it with a failure


@pytest.fixture
def make_peer(ros):
    """Make test nodes; they are gone when the test ends."""
    peers = []

    def make(**options):
        peers.append(Peer(**options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def graph(start, make_peer):
    """A node that runs and a peer that has met it."""
    node, peer = start(), make_peer()
    peer.meet(node, picture())
    return node, peer
