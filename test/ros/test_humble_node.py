# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node with interfaces like those of ROS 2 Humble, of which there are no wheels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fakes.colour_tracker import picture
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_graph import NODE, add, click
from sensor_msgs.msg import CompressedImage, Image

NODE_OF_HUMBLE = (sys.executable, str(Path(__file__).with_name('humble_track_node.py')))


@pytest.mark.skipif(
    os.environ.get('ROS_DISTRO') != 'jazzy',
    reason='it removes what Jazzy added to Humble; later distributions added more',
)
def test_the_node_runs_on_humble(start, make_peer):
    node = start(command=NODE_OF_HUMBLE, ROS_DISTRO='humble', ROS_PYTHON_CHECK_FIELDS='1')
    peer = make_peer()
    # What has no subscribers is not made. Humble checks the types of all fields.
    peer.listen(Image, f'{NODE}/overlay')
    peer.listen(CompressedImage, f'{NODE}/labels/compressed')
    peer.meet(node, picture())
    assert add(peer, click(15, 15)).success
    stamp = peer.send(picture(red=(10, 10)))
    (item,) = peer.message('objects', stamp).objects
    assert item.area == 100
    assert peer.message('overlay', stamp).encoding == 'rgb8'
    assert len(peer.message('compressed', stamp).data)

    change = [Parameter('lost_after', value=3.0).to_parameter_msg()]
    request = SetParameters.Request(parameters=change)
    (answer,) = peer.call(SetParameters, 'set_parameters', request).results
    assert answer.successful, answer.reason
    assert node.interrupt() == 0, node.log
    assert 'Traceback' not in node.log
