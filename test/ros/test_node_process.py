# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node as a process: start, stop, parameters."""

from __future__ import annotations

import os
import signal
import time

import pytest
from fakes.colour_tracker import ColourTracker, picture
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_graph import add, click

from tam_ros.ros.shutdown import SIGNALS
from tam_ros.ros.track_node import TrackNode


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_ends_it_cleanly(graph, number):
    node, peer = graph
    add(peer, click(15, 15))
    peer.track(picture(red=(10, 10)))
    os.killpg(node.process.pid, number)
    assert node.process.wait(15) == 0, node.log
    assert f'{number.name} received: the node ends' in node.log
    assert 'Traceback' not in node.log
    with pytest.raises(ProcessLookupError):  # no process of its group is left
        os.killpg(node.process.pid, 0)


@pytest.mark.slow
def test_ctrl_c_during_an_image(start, make_peer):
    node, peer = start(COLOUR_TRACKER_DELAY='1.0'), make_peer()
    peer.meet(node, picture())
    stamp = peer.send(picture())
    peer.wait('the step', lambda: f'step at {stamp / 10**9}' in node.log)
    assert node.interrupt() == 0, node.log
    assert 'Traceback' not in node.log


@pytest.mark.slow
@pytest.mark.parametrize('pause', [0.0, 0.01, 0.2])
def test_ctrl_c_twice_ends_it_cleanly(graph, pause):
    node, peer = graph
    peer.track(picture())
    os.killpg(node.process.pid, signal.SIGINT)
    time.sleep(pause)
    assert node.interrupt() in (0, -signal.SIGINT), node.log
    with pytest.raises(ProcessLookupError):
        os.killpg(node.process.pid, 0)


# Each row: an argument the node cannot start with, and words of the log.
@pytest.mark.parametrize(
    ('argument', 'words'),
    [
        pytest.param('model:=missing', "no model 'missing' in the catalogue", id='unknown model'),
        pytest.param('runtime:=abacus', 'one of onnxruntime', id='unknown runtime'),
        pytest.param(
            'prompt_history_seconds:=-1.0', 'prompt_history_seconds', id='number out of range'
        ),
        pytest.param('publish_masks:=3', 'must be of type bool', id='wrong type'),
        pytest.param('remove_after:=1.0', 'must be lost before it is removed', id='conflict'),
    ],
)
def test_it_does_not_start_with_invalid_arguments(start, argument, words):
    node = start('-p', argument)
    assert node.process.wait(20) == 1
    assert words in node.log
    assert 'Traceback' not in node.log


def test_parameters_that_do_not_exist_are_reported(start, make_peer, tmp_path):
    """From the command line and from a file; the node runs without them."""
    file = tmp_path / 'mistyped.yaml'
    file.write_text('/**:\n  ros__parameters:\n    lost_afer: 5.0\n    remove_after: 9.0\n')
    node = start('-p', 'confidence:=0.5', '--params-file', str(file))
    peer = make_peer()
    peer.meet(node, picture())
    assert 'no parameter lost_afer, it is ignored; did you mean lost_after?' in node.log
    assert 'no parameter confidence, it is ignored' in node.log
    assert node.log.count('there is no parameter') == 2


def test_live_parameters(graph):
    """Some change at once; the refusal of the others says when they are read."""
    node, peer = graph

    def change(name, value):
        message = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[message])
        return peer.call(SetParameters, 'set_parameters', request).results[0]

    assert change('publish_masks', True).successful
    add(peer, click(15, 15))
    assert peer.track(picture(red=(10, 10)))[0].objects[0].mask_png
    refused = change('model', 'efficienttam_ti')
    assert not refused.successful
    assert 'read when the node configures' in refused.reason
    assert not change('time_jump', -5.0).successful

    # Options of the tracker change with the next image.
    assert "'lost_after': 2.0" in node.log
    assert change('lost_after', 0.5).successful
    assert 'must be lost before' in change('remove_after', 0.25).reason
    assert change('remove_after', 9.0).successful
    peer.track(picture(red=(10, 10)))
    assert "'lost_after': 0.5" in node.log.splitlines()[-1]
    assert "'remove_after': 9.0" in node.log.splitlines()[-1]


def test_a_failure_between_two_images_is_reported(ros):
    """The caller is answered, and the inference thread continues."""
    node = TrackNode(ColourTracker.open)
    port = node._port
    try:
        assert port.schedule_in_tracker(lambda session: None) is None, 'there is no tracker yet'
        node.trigger_configure()
        port.schedule_in_tracker(lambda session: session.no_such_thing).result(10)
        assert 'no_such_thing' in node._statistics.summary().failure
        answer = port.call_in_tracker(lambda session: 1 / 0, also_inactive=True)
        assert (answer.success, answer.object_id) == (False, 0)
        assert 'internal error: division by zero' in answer.message
        assert port.reset().success
    finally:
        node.destroy_node()
