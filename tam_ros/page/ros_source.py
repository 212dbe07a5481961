# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The side of ROS: which cameras there are, and feeds of those that somebody looks at."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from tam_ros.client.results import StatusEntry, status_entries
from tam_ros.page.camera_feed import CameraFeed
from tam_ros.page.protocol import Request
from tam_ros.page.settings import PageSettings
from tam_ros.page.store import Answer, LatestValues

SERVICE, SERVICE_TYPE = '/add_prompt', 'tam_ros/srv/AddPrompt'
"""What every tracking node offers, by which it is found on the graph."""

_LOOK_PERIOD_S = 1.0
_STATUS_KEYS = {
    'input': ('rate_hz', 'dropped', 'dropped_share', 'lost'),
    'tracking': ('rate_hz', 'age_ms_p50', 'age_ms_p95', 'lifecycle'),
    'model': ('model', 'runtime', 'weights'),
}


class RosSource:
    """Subscribes to what browsers look at, and to nothing else.

    Attributes:
        values: the newest of everything; the server reads it.
    """

    def __init__(self, node: Node, executor: Executor, settings: PageSettings) -> None:
        """Subscribe to nothing yet.

        Args:
            node: node to subscribe with.
            executor: executor that has the node.
            settings: the parameters.
        """
        self.values = LatestValues()
        self._node, self._executor, self._settings = node, executor, settings
        self._feeds: dict[str, CameraFeed] = {}
        self._numbers = itertools.count(1)
        self._wanted: frozenset[str] | None = None
        self._timer: Timer | None = None
        self._diagnostics: Subscription | None = None

    def attend(self, cameras: frozenset[str] | None) -> None:
        """Set which cameras are looked at; from any thread.

        Args:
            cameras: their names; None: no browser is connected.
        """
        # rclpy does not run tasks in the order in which they were created: each does what was
        # wanted last.
        self._wanted = cameras
        self._executor.create_task(self._attend_to_wanted)

    def answer(self, browser: int, request: Request) -> Answer:
        """Do what a browser requests; blocks, from any thread but the executor's."""
        feed = self._feeds.get(request.camera)
        if feed is None:
            return Answer(False, f'no camera {request.camera} is open: choose it again')
        return feed.requests.answer(browser, request)

    def close(self) -> None:
        """Unsubscribe from everything; in the executor's thread, or when it has ended."""
        self._wanted = None
        self._attend_to_wanted()

    def _attend_to_wanted(self) -> None:
        cameras = self._wanted
        if cameras is None and self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        elif cameras is not None and self._timer is None:
            # Not on the node's clock, which may be that of a recording that is paused.
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(_LOOK_PERIOD_S, self._look, clock=clock)
        if cameras is not None:
            self._look()
        self._update_feeds()

    def _look(self) -> None:
        """Find the tracking nodes on the graph."""
        before = self.values.cameras
        self.values.put_cameras(cameras_of(self._node.get_service_names_and_types()))
        if self.values.cameras != before:
            self._update_feeds()

    def _update_feeds(self) -> None:
        wanted = self._wanted or frozenset()
        for name in set(self._feeds) - wanted:
            self._feeds.pop(name).close()
            self.values.forget(name)
        # A browser can name anything. A node that has gone is expected back.
        for name in (wanted & frozenset(self.values.cameras)) - set(self._feeds):
            self._feeds[name] = CameraFeed(
                self._node,
                name,
                self._numbers,
                self.values.put_frame,
                self._settings.jpeg_quality,
                self._settings.max_side,
            )
        self._listen_to_diagnostics(bool(self._feeds))

    def _listen_to_diagnostics(self, wanted: bool) -> None:
        if wanted and self._diagnostics is None:
            self._diagnostics = self._node.create_subscription(
                DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=20)
            )
        elif not wanted and self._diagnostics is not None:
            self._node.destroy_subscription(self._diagnostics)
            self._diagnostics = None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for name, feed in self._feeds.items():
            if entries := status_entries(message, name):
                if 'input' in entries:
                    feed.images_on(entries['input'].values.get('topic', ''))
                self.values.put_status(name, status_for_page(entries))


def cameras_of(services: Iterable[tuple[str, list[str]]]) -> list[str]:
    """Return the full names of the tracking nodes among all services of the graph."""
    return [
        name.removesuffix(SERVICE)
        for name, types in services
        if name.endswith(SERVICE) and SERVICE_TYPE in types
    ]


def status_for_page(entries: dict[str, StatusEntry]) -> dict[str, Any]:
    """Return what the page shows of a node's diagnostics, by the name of each status."""
    return {
        part: {
            'level': entry.level,
            'message': entry.message,
            **{
                key: entry.values[key] for key in _STATUS_KEYS.get(part, ()) if key in entry.values
            },
        }
        for part, entry in entries.items()
    }
