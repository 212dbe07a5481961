# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The fault node in its own process: it learns, saves, notices, and refuses."""

from __future__ import annotations

import math
import random
import sys
import threading

import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
pytest.importorskip('tam_ros.msg')

from tam_ros.faults.agreement import Comparison, PairChange  # noqa: E402
from tam_ros.faults.baseline import load_baseline  # noqa: E402
from tam_ros.ros.companions.fault_node import describe, reported, summary  # noqa: E402

NODE = (sys.executable, '-m', 'tam_ros.ros.companions.fault_node')
FAST = ('-p', 'window:=0.1', '-p', 'recent:=8')

PAIRS = (
    PairChange('a', 'b', 0.9, 0.1, plain=1.5, robust=math.nan),
    PairChange('a', 'c', 0.9, 0.5, plain=0.5, robust=1.2),
    PairChange('b', 'c', 0.9, 0.8, plain=0.5, robust=0.9),
)


def test_pairs_above_a_limit_are_reported_in_words():
    assert reported(Comparison(PAIRS, ())) == list(PAIRS[:2])
    assert describe(PAIRS[1]) == (
        'a and c: agreement 0.90 before, 0.50 now (plain 0.5, robust 1.2)'
    )
    comparison = Comparison(PAIRS, ('d', 'e'))
    assert summary(comparison, []) == 'silent: d, e'
    assert summary(comparison, list(PAIRS[:2])).endswith('robust nan) and 1 more pairs')
    assert not summary(Comparison(PAIRS[2:], ()), [])


class Tracker:
    """Publishes objects of two cameras whose areas follow the same distance, until one freezes."""

    def __init__(self, node):
        from tam_ros.msg import TrackedObject, TrackedObjectArray

        self.is_frozen = threading.Event()
        self._random = random.Random(0)
        self._message, self._object = TrackedObjectArray, TrackedObject
        self._publishers = [
            node.create_publisher(TrackedObjectArray, f'/{side}/objects', 5)
            for side in ('left', 'right')
        ]
        self._timer = node.create_timer(0.02, self._tick)
        self._ticks = 0

    def _tick(self):
        self._ticks += 1
        if self._ticks % 5 == 0:
            self._distance = self._random.uniform(1.0, 4.0)
        for index, publisher in enumerate(self._publishers):
            distance = getattr(self, '_distance', 2.0)
            if index and self.is_frozen.is_set():
                distance = 2.0
            area = int(1e5 / distance**2 * self._random.uniform(0.97, 1.03))
            one = self._object(id=1, state=self._object.VISIBLE, area=area, score=0.5)
            publisher.publish(self._message(objects=[one]))


def test_it_learns_saves_and_notices_that_a_camera_froze(start, make_peer, tmp_path):
    from std_srvs.srv import SetBool

    path = tmp_path / 'baseline.npz'
    arguments = ('-p', 'trackers:=[/left, /right]', '-p', f'baseline:={path}', *FAST)
    start(command=NODE, arguments=('--ros-args', *arguments))
    peer = make_peer()
    tracker = Tracker(peer.node)
    learn = peer.node.create_client(SetBool, '/fault_node/learn')

    def call(data):
        assert learn.wait_for_service(20.0)
        future = learn.call_async(SetBool.Request(data=data))
        return peer.wait('an answer', lambda: future.done() and future.result())

    def says(text):
        newest = peer.received['diagnostics'][-1:]
        return newest and text in newest[0].status[0].message and newest[0].status[0]

    status = peer.wait('a status', lambda: says('no baseline: call /fault_node/learn'))
    assert (status.name, status.level) == ('fault_node: agreement', status.WARN)
    answer = call(False)
    assert not answer.success and 'learning has not begun' in answer.message
    assert call(True).success
    answer = call(False)
    assert not answer.success and 'at least' in answer.message
    peer.wait('learning', lambda: says('learning: '))
    answer = peer.wait('enough windows', lambda: (got := call(False)).success and got, 60.0)
    assert str(path) in answer.message and 'left/score (constant)' in answer.message
    assert {'left/area', 'right/area'} <= set(load_baseline(path).channels)
    tracker.is_frozen.set()
    status = peer.wait('a warning', lambda: says('left/area and right/area'), 60.0)
    assert status.level == status.WARN and ' before, ' in status.message


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('-p', 'recent:=1'), 'recent is 1, not 5 to'),
        (('-p', 'window:=0.0'), 'window is 0, not 0.1 to'),
        (('-p', 'window:=text'), 'window'),
        (('-p', 'baseline:={path}'), 'cannot be read as a baseline'),
    ],
    ids=['recent', 'window', 'type', 'baseline'],
)
def test_what_it_cannot_use_is_said_in_one_line(ros, tmp_path, arguments, message, capfd):
    from tam_ros.ros.companions import fault_node

    (tmp_path / 'broken.npz').write_bytes(b'broken')
    given = [one.format(path=tmp_path / 'broken.npz') for one in arguments]
    ros.try_shutdown()
    try:
        assert fault_node.main(['fault_node', '--ros-args', *given]) == 1
    finally:
        from rclpy.signals import SignalHandlerOptions

        ros.init(signal_handler_options=SignalHandlerOptions.NO)
    printed = capfd.readouterr().err.strip().splitlines()
    assert len(printed) == 1 and message in printed[0]
