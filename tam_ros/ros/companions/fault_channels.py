# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Messages that are published anyway, as values of the channels of `tam_ros.faults`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray

from tam_ros.msg import TrackedObject, TrackedObjectArray
from tam_ros.ros.conversions import stamp_ns

Add = Callable[[str, float, bool], None]
"""Takes the name of a channel, a value, and whether the largest value of a window counts."""

_DIAGNOSTICS = {'input': ('rate_hz', 'dropped_share'), 'depth': ('offset_ms_p50',)}


class Arrivals:
    """Times between the messages of a topic."""

    def __init__(self, name: str, add: Add) -> None:
        """Know none yet.

        Args:
            name: the first part of the channel's name.
            add: takes the values.
        """
        self.name = name
        self.add = add
        self._newest: float | None = None

    def arrived(self, now_s: float) -> None:
        """Add the time since the previous message; `now_s` is of a steady clock."""
        if self._newest is not None:
            self.add(f'{self.name}/gap', now_s - self._newest, True)
        self._newest = now_s


class TrackerChannels(Arrivals):
    """Channels of one tracking node, `NAME/area` and others; docs/faults.md lists them."""

    def __init__(self, name: str, add: Add) -> None:
        """Know no message yet; `name` is the full name of the tracking node."""
        super().__init__(name.lstrip('/'), add)
        self._before: dict[int, TrackedObject] = {}
        self._before_ns = 0
        self._depth_used = False

    def objects(self, message: TrackedObjectArray, now_s: float, now_ns: int) -> None:
        """Add what a message of `~/objects` says.

        Args:
            message: the message.
            now_s: time of a steady clock, seconds.
            now_ns: time of the node's clock, to which stamps belong, nanoseconds.
        """
        self.arrived(now_s)
        stamp = stamp_ns(message.header)
        if stamp:
            self._value('latency', (now_ns - stamp) / 1e9)
        visible = [one for one in message.objects if one.state == TrackedObject.VISIBLE]
        visible = [one for one in visible if one.area]
        self._value('visible', len(visible))
        self._mean('score', [one.score for one in message.objects])
        self._mean('area', [math.log(one.area) for one in visible])
        self._mean('speed', self._speeds(visible, stamp))
        located = [one for one in visible if one.position_points and one.position.z > 0]
        self._depth_used |= bool(located)
        self._mean('distance', [math.log(one.position.z) for one in located])
        if self._depth_used:
            self._mean('coverage', [one.position_points / one.area for one in visible])
        self._before = {one.id: one for one in visible}
        self._before_ns = stamp

    def diagnostics(self, message: DiagnosticArray) -> None:
        """Add what the tracking node says about itself."""
        for status in message.status:
            node, _, part = status.name.rpartition(': ')
            if node != self.name:
                continue
            for value in status.values:
                if value.key in _DIAGNOSTICS.get(part, ()):
                    self._value(value.key, _number(value.value))

    def _speeds(self, visible: list[TrackedObject], stamp: int) -> list[float]:
        """Return how many of its own lengths each object moves in a second."""
        seconds = (stamp - self._before_ns) / 1e9
        if not self._before_ns or seconds <= 0:
            return []
        return [
            math.dist((one.centroid.x, one.centroid.y), (before.centroid.x, before.centroid.y))
            / math.sqrt(one.area)
            / seconds
            for one in visible
            if (before := self._before.get(one.id)) is not None
        ]

    def _value(self, what: str, value: float) -> None:
        self.add(f'{self.name}/{what}', value, False)

    def _mean(self, what: str, values: list[float]) -> None:
        if values:
            self._value(what, float(np.mean(values)))


class DetectionChannels(Arrivals):
    """Channels of a topic of vision_msgs/Detection2DArray: count, mean score and gap."""

    def __init__(self, topic: str, add: Add) -> None:
        """Know no message yet; `topic` is the full name."""
        super().__init__(topic.lstrip('/'), add)

    def detections(self, message: Any, now_s: float) -> None:
        """Add what a message says."""
        self.arrived(now_s)
        self.add(f'{self.name}/count', len(message.detections), False)
        scores = [
            max(result.hypothesis.score for result in one.results)
            for one in message.detections
            if one.results
        ]
        if scores:
            self.add(f'{self.name}/score', float(np.mean(scores)), False)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
