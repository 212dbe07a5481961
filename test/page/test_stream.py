# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One frame on its way; the newest next; a limited rate."""

from __future__ import annotations

from types import SimpleNamespace

from tam_ros.page.stream import FrameFlow, RateLimit


def frame(number):
    return SimpleNamespace(number=number)


def test_the_next_frame_is_the_newest_when_the_last_is_acknowledged():
    flow = FrameFlow()
    assert flow.take(None) is None
    assert flow.take(frame(5)).number == 5
    assert flow.take(frame(6)) is None, 'one is on its way'
    assert not flow.acknowledge(4) and flow.take(frame(6)) is None
    assert flow.acknowledge(5)
    assert flow.take(frame(5)) is None, 'it has been sent'
    assert flow.take(frame(9)).number == 9, '6 to 8 are skipped'


def test_a_frame_is_acknowledged_once():
    flow = FrameFlow()
    flow.take(frame(1))
    assert flow.acknowledge(1) and not flow.acknowledge(1)
    assert not flow.is_waiting


def test_another_camera_may_have_older_frames():
    flow = FrameFlow()
    flow.take(frame(8))
    flow.restart()
    assert flow.take(frame(3)) is None, 'the last one is still on its way'
    flow.acknowledge(8)
    assert flow.take(frame(3)).number == 3


def test_a_burst_is_allowed_and_a_flood_is_not():
    now = [0.0]
    limit = RateLimit(10, 3, lambda: now[0])
    assert [limit.allow() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 0.25
    assert [limit.allow() for _ in range(3)] == [True, True, False]
    now[0] = 100
    assert sum(limit.allow() for _ in range(9)) == 3
