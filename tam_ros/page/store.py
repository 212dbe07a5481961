# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The boundary between the thread of ROS and that of the server: the newest values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tam_ros.page.frame import Frame


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        success: whether it was done.
        message: the reason why not, in the words of the tracking node; else empty.
        object_id: the object; 0: none.
    """

    success: bool
    message: str = ''
    object_id: int = 0


Status = Mapping[str, Any]
"""What the page shows of a node's diagnostics; ready for JSON."""


class LatestValues:
    """The newest frame and status of each camera, and the cameras. All methods from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: dict[str, Frame] = {}
        self._statuses: dict[str, Status] = {}
        self._cameras: tuple[str, ...] = ()
        self._changed: Callable[[], None] = lambda: None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Let a function be called after each change, in the thread that made it."""
        self._changed = callback

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the tracking nodes, sorted."""
        return self._cameras

    def frame(self, camera: str) -> Frame | None:
        """Return the newest frame of a camera."""
        with self._lock:
            return self._frames.get(camera)

    def status(self, camera: str) -> Status | None:
        """Return the newest status of a camera."""
        with self._lock:
            return self._statuses.get(camera)

    def put_frame(self, camera: str, frame: Frame) -> None:
        """Replace the frame of a camera."""
        with self._lock:
            self._frames[camera] = frame
        self._changed()

    def put_status(self, camera: str, status: Status) -> None:
        """Replace the status of a camera."""
        with self._lock:
            self._statuses[camera] = status
        self._changed()

    def put_cameras(self, cameras: Sequence[str]) -> None:
        """Replace the list of cameras."""
        found = tuple(sorted(cameras))
        if found != self._cameras:
            self._cameras = found
            self._changed()

    def forget(self, camera: str) -> None:
        """Drop what is known about a camera that nobody looks at any more."""
        with self._lock:
            self._frames.pop(camera, None)
            self._statuses.pop(camera, None)
