# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Boxes of an object detector: ~/detections, if vision_msgs is installed."""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy

from tam_ros.prompting.detection_filter import Detection, FilterRules, Reason, explain, select
from tam_ros.prompting.session import TrackingSession
from tam_ros.ros.conversions import stamp_ns
from tam_ros.ros.inputs.matching import DetectionMatcher
from tam_ros.ros.inputs.source import PromptSource

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:  # optional
    Detection2DArray = None

# Detectors publish with either reliability, and soon send the next message.
_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class DetectionTopic(PromptSource):
    """Adds an object for a detection that no tracked object matches."""

    def start(self) -> None:
        """Subscribe to ~/detections."""
        self._matcher = DetectionMatcher(self.port, '~/detections')
        self._explained: set[tuple[Reason, FilterRules]] = set()
        self._scheduled: Future | None = None
        if Detection2DArray is None:
            self.port.log('vision_msgs is not installed: no subscription to ~/detections')
        else:
            self.port.subscribe(Detection2DArray, '~/detections', self._on_detections, _QOS)

    def clear(self) -> None:
        """Drop the candidates and the recent prompts."""
        self._matcher.clear()

    def _on_detections(self, message: Any) -> None:
        if not self.port.active:
            return  # a detector may run while nothing is tracked
        found, stamp = read_detections(message), stamp_ns(message.header)
        if self._scheduled is not None:
            self._scheduled.cancel()  # if it has not started: only the newest message counts
        self._scheduled = self.port.schedule_in_tracker(
            lambda session: self._match(session, found, stamp)
        )

    def _match(self, session: TrackingSession, found: list[Detection], stamp: int) -> None:
        if not self.port.published:
            return  # no image is tracked yet, or all were cleared in the meantime
        used = self._select(found, self.port.published.at(stamp).size)
        self._matcher.match(session, used, stamp)

    def _select(self, found: list[Detection], size: tuple[int, int]) -> list[Detection]:
        """Return the detections to use; count the others, and say the reason once."""
        parameters = self.port.parameters.current
        classes = (name.strip() for name in parameters.detection_classes.split(','))
        rules = FilterRules(
            classes=frozenset(name for name in classes if name),
            min_score=parameters.detection_min_score,
            coordinates=parameters.detection_coordinates,
        )
        used, dropped = select(found, size, rules)
        for reason, left_out in dropped.items():
            explanation = explain(reason, left_out, size, rules)
            self.port.count_dropped(reason.value, len(left_out), explanation)
            if (reason, rules) not in self._explained:
                self._explained.add((reason, rules))
                self.port.log(
                    f'~/detections: {len(left_out)} of {len(found)} are not used: '
                    f'{explanation.text}',
                    warning=explanation.mistake,
                )
        return used


def read_detections(message: Any) -> list[Detection]:
    """Return the boxes of a message, each with its most probable class.

    Args:
        message: a Detection2DArray, or anything with its fields.

    Returns:
        In the order of the message. A rotated box is replaced by the upright box around it; a box
        without a hypothesis has score 0. Not checked: see `detection_filter.select`.
    """
    return [_read(entry) for entry in message.detections]


def _read(entry: Any) -> Detection:
    box = entry.bbox
    x, y, turn = box.center.position.x, box.center.position.y, box.center.theta
    cos, sin = (abs(f(turn)) if math.isfinite(turn) else math.nan for f in (math.cos, math.sin))
    half_x = (box.size_x * cos + box.size_y * sin) / 2
    half_y = (box.size_x * sin + box.size_y * cos) / 2
    best = max(
        (result.hypothesis for result in entry.results), key=lambda one: one.score, default=None
    )
    return Detection(
        (x - half_x, y - half_y, x + half_x, y + half_y),
        best.class_id if best is not None else '',
        best.score if best is not None else 0.0,
    )
