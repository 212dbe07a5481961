# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The managed node: every transition, those that fail, and Ctrl-C in every state."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fakes.colour_tracker import picture
from lifecycle_msgs.srv import GetState
from ros_graph import add, change_state, click

FAILING_NODE = (sys.executable, str(Path(__file__).resolve().parent / 'failing_track_node.py'))
IMAGE = picture(red=(10, 10))


class Manager:
    """Brings one node up and down through its lifecycle services."""

    def __init__(self, node, peer):
        self.node, self.peer = node, peer

    def go(self, name):
        """Ask for a transition such as `configure`; return whether it succeeded."""
        return change_state(self.peer, name)

    @property
    def state(self):
        return self.peer.call(GetState, 'get_state', GetState.Request()).current_state.label

    def opened(self):
        """Return how many trackers are open."""
        return self.node.log.count('tracker opened') - self.node.log.count('tracker closed')


@pytest.fixture
def manage(start, make_peer):
    """Start a node that waits for its manager."""

    def manage(*arguments, **options):
        return Manager(start('-p', 'autostart:=false', *arguments, **options), make_peer())

    return manage


def test_up_and_down_and_up_again(manage):
    manager = manage()
    peer = manager.peer
    assert manager.state == 'unconfigured'
    assert 'not configured' in add(peer, click(15, 15)).message
    assert 'waiting for a lifecycle manager' in manager.node.log
    assert manager.go('configure')
    assert (manager.state, manager.opened()) == ('inactive', 1)
    assert 'not active' in add(peer, click(15, 15)).message
    assert manager.go('activate')
    assert manager.state == 'active'
    peer.meet(manager.node, IMAGE)
    assert add(peer, click(15, 15)).success
    assert peer.track(IMAGE)[0].objects
    assert manager.go('deactivate')
    peer.wait('the end of the subscription', lambda: not peer.images.get_subscription_count())
    refused = add(peer, click(15, 15))
    assert not refused.success
    assert 'nothing is tracked: ros2 lifecycle set /track_node activate' in refused.message

    assert manager.go('activate')
    peer.received.clear()
    peer.meet(manager.node, IMAGE)
    objects, _ = peer.track(picture(red=(20, 20)))
    assert [item.id for item in objects.objects] == [1], 'the object was kept'

    assert manager.go('deactivate')
    assert manager.go('cleanup')
    assert (manager.state, manager.opened()) == ('unconfigured', 0)
    assert 'not configured' in add(peer, click(15, 15)).message

    assert manager.go('configure')
    assert manager.go('activate')
    peer.received.clear()
    peer.meet(manager.node, IMAGE)
    assert not peer.track(IMAGE)[0].objects, 'cleanup removes the objects'
    assert add(peer, click(15, 15)).object_id == 1

    log = manager.node.log
    transitions = [line.partition('lifecycle: ')[2] for line in log.splitlines()]
    assert [line for line in transitions if line] == [
        'unconfigured -> inactive',
        'inactive -> active',
        'active -> inactive',
        'inactive -> active',
        'active -> inactive',
        'inactive -> unconfigured',
        'unconfigured -> inactive',
        'inactive -> active',
    ]
    assert log.count('first image on /camera/image: 80x60, rgb8') == 3, 'one for each activation'
    assert log.count('~/add_prompt: object 1 is added (1 point)') == 2


def test_objects_are_removed_with_keep_objects_false(manage):
    manager = manage('-p', 'keep_objects:=false')
    peer = manager.peer
    assert manager.go('configure')
    assert manager.go('activate')
    peer.meet(manager.node, IMAGE)
    assert add(peer, click(15, 15)).success
    assert peer.track(IMAGE)[0].objects
    assert manager.go('deactivate')
    assert manager.go('activate')
    peer.received.clear()
    peer.meet(manager.node, IMAGE)
    assert not peer.track(IMAGE)[0].objects
    assert manager.opened() == 1, 'the model stays'


def test_deactivate_fails_if_objects_cannot_be_removed(manage):
    """They must not stay silently: the node stays active, and the next try removes them."""
    manager = manage('-p', 'keep_objects:=false', STAND_IN='UnresettableTracker')
    peer = manager.peer
    assert manager.go('configure')
    assert manager.go('activate')
    peer.meet(manager.node, IMAGE)
    assert add(peer, click(15, 15)).success
    assert peer.track(IMAGE)[0].objects
    assert not manager.go('deactivate')
    assert manager.state == 'active'
    peer.wait('the reason', lambda: 'the objects cannot be removed' in manager.node.log)
    assert 'device lost in reset' in manager.node.log
    assert peer.track(IMAGE)[0].objects, 'images are still tracked'

    assert manager.go('deactivate')
    assert manager.go('activate')
    peer.received.clear()
    peer.meet(manager.node, IMAGE)
    assert not peer.track(IMAGE)[0].objects


@pytest.mark.parametrize('path', [(), ('configure',), ('configure', 'activate')])
def test_shutdown_frees_the_model(manage, path):
    manager = manage()
    for transition in path:
        assert manager.go(transition)
    state = manager.state
    assert manager.go(f'{state}_shutdown')
    assert (manager.state, manager.opened()) == ('finalized', 0)
    assert manager.node.interrupt() == 0, manager.node.log


# Each row: previous transitions, and one that is not possible after them.
@pytest.mark.parametrize(
    ('path', 'wrong'),
    [
        pytest.param((), 'activate', id='activate before configure'),
        pytest.param((), 'cleanup', id='nothing to clean up'),
        pytest.param(('configure',), 'configure', id='configure twice'),
        pytest.param(('configure', 'activate'), 'cleanup', id='cleanup while active'),
    ],
)
def test_impossible_transitions_are_refused(manage, path, wrong):
    manager = manage()
    for transition in path:
        assert manager.go(transition)
    state = manager.state
    assert not manager.go(wrong)
    assert manager.state == state
    assert manager.node.interrupt() == 0, manager.node.log


def test_a_failed_configure_can_be_tried_again(manage):
    """The first weights do not exist, the second ones do."""
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    manager = manage('-p', 'weights:=missing')
    for _ in range(2):
        assert not manager.go('configure')
        assert (manager.state, manager.opened()) == ('unconfigured', 0)
    manager.peer.wait('the reason', lambda: 'weights missing do not exist' in manager.node.log)
    message = Parameter('weights', value='').to_parameter_msg()
    request = SetParameters.Request(parameters=[message])
    assert manager.peer.call(SetParameters, 'set_parameters', request).results[0].successful
    assert manager.go('configure')
    assert (manager.state, manager.opened()) == ('inactive', 1)


# Each row: where the node fails once, and the transitions up to there.
@pytest.mark.parametrize(
    ('where', 'path'),
    [
        pytest.param('opened', ('configure',), id='after the model was opened'),
        pytest.param('activate', ('configure', 'activate'), id='before it subscribes'),
        pytest.param('listening', ('configure', 'activate'), id='after it subscribed'),
        pytest.param(
            'deactivate', ('configure', 'activate', 'deactivate'), id='while it unsubscribes'
        ),
    ],
)
def test_a_transition_that_fails_leaves_nothing_behind(manage, where, path):
    """The error is logged, the model is closed, and the node can be configured again."""
    manager = manage(command=FAILING_NODE, FAIL_AT=where)
    *before, last = path
    for transition in before:
        assert manager.go(transition)
    assert not manager.go(last)
    manager.peer.wait('the reason', lambda: f'broken on purpose: {where}' in manager.node.log)
    assert (manager.state, manager.opened()) == ('unconfigured', 0)
    assert 'not configured' in add(manager.peer, click(15, 15)).message

    assert manager.go('configure')
    assert manager.go('activate')
    manager.peer.meet(manager.node, IMAGE)
    assert add(manager.peer, click(15, 15)).success
    assert manager.peer.track(IMAGE)[0].objects
    assert manager.node.interrupt() == 0, manager.node.log
    assert manager.opened() == 0


def test_with_autostart_a_failure_ends_the_process(start):
    node = start(command=FAILING_NODE, FAIL_AT='activate')
    assert node.process.wait(20) == 1
    assert 'broken on purpose' in node.log
    assert node.log.count('tracker opened') == node.log.count('tracker closed') == 1


@pytest.mark.parametrize(
    'path',
    [
        pytest.param((), id='unconfigured'),
        pytest.param(('configure',), id='inactive'),
        pytest.param(('configure', 'activate'), id='active'),
        pytest.param(('configure', 'activate', 'deactivate'), id='inactive again'),
        pytest.param(('configure', 'cleanup'), id='unconfigured again'),
        pytest.param(('configure', 'activate', 'active_shutdown'), id='finalized'),
    ],
)
def test_ctrl_c_frees_the_model_in_every_state(manage, path):
    manager = manage()
    assert manager.state == 'unconfigured'
    for transition in path:
        assert manager.go(transition)
    assert manager.node.interrupt() == 0, manager.node.log
    assert manager.opened() == 0
    assert 'Traceback' not in manager.node.log
