# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Depth images and calibration to where things are, for images that were tracked."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecycleState, ManagedEntity, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from tam_ros.io.encodings import ImageFormatError
from tam_ros.ros.calibration import Calibration
from tam_ros.ros.conversions import NANOSECONDS, image_to_depth, stamp_ns
from tam_ros.ros.diagnostics import DEPTH_OFFSET
from tam_ros.ros.statistics import Statistics
from tam_ros.spatial import Camera, CameraError, DepthOptions, DepthView, image_rays

KEPT = 30
"""Depth images that wait for theirs: a second of a camera, for trackers as slow as that."""

_SILENT_S = 1.0  # after that long without one nobody waits for a depth image


class DepthError(RuntimeError):
    """There is no depth for an image; the message tells why."""


class DepthImages(ManagedEntity):
    """Keeps the depth images of the last moments, and finds the one of a tracked image.

    The image is tracked first, whether its depth has come or not. Written by the executor's
    thread, asked by another. Listens while the node is active.
    """

    def __init__(self, node: LifecycleNode) -> None:
        """Make it a part of the node's life."""
        self._node = node
        self._subscription: Subscription | None = None
        self._changed = threading.Condition()
        self._kept: deque[tuple[int, Image]] = deque(maxlen=KEPT)
        self._newest_ns: int | None = None
        self._heard_at = -np.inf
        node.add_managed_entity(self)
        self.topic = node.resolve_topic_name('depth')

    @property
    def offered(self) -> bool:
        """Whether anybody publishes depth, or did since the node became active."""
        return self._newest_ns is not None or (
            self._subscription is not None and self._node.count_publishers(self.topic) > 0
        )

    def find(self, image_ns: int, tolerance: float, patience: float) -> Image:
        """Return the depth image that is nearest in time to an image.

        Images must be asked for in their order: what is older than this one is forgotten.

        Args:
            image_ns: stamp of the image, nanoseconds.
            tolerance: seconds that the two stamps may differ.
            patience: seconds to wait for it, as long as the newest one is older than the image
                and more are coming.

        Raises:
            DepthError: none within the tolerance.
        """
        with self._changed:
            if time.monotonic() - self._heard_at < _SILENT_S:
                self._changed.wait_for(
                    lambda: self._newest_ns is None or self._newest_ns >= image_ns, patience
                )
            while self._kept and image_ns - self._kept[0][0] > tolerance * NANOSECONDS:
                self._kept.popleft()
            if self._newest_ns is None:
                raise DepthError(f'no depth image has arrived on {self.topic}')
            found = min(self._kept, key=lambda item: abs(item[0] - image_ns), default=None)
            nearest_ns = self._newest_ns if found is None else found[0]
            away = (nearest_ns - image_ns) / NANOSECONDS
            if found is None or abs(away) > tolerance:
                raise DepthError(
                    f'the nearest depth image is {abs(away):.3f} s '
                    f'{"older" if away < 0 else "newer"} than the image (depth_tolerance '
                    f'{tolerance:g}, depth_wait {patience:g})'
                )
            return found[1]

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen."""
        reliable = self._node.get_parameter('qos_reliability').value == 'reliable'
        qos = QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self._subscription = self._node.create_subscription(Image, 'depth', self._keep, qos)
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and forget what was heard."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        with self._changed:
            self._kept.clear()
            self._newest_ns = None
        return TransitionCallbackReturn.SUCCESS

    def _keep(self, message: Image) -> None:
        stamp = stamp_ns(message.header)
        with self._changed:
            if self._newest_ns is not None and stamp <= self._newest_ns:
                self._kept.clear()  # a recording that begins anew
            self._kept.append((stamp, message))
            self._newest_ns = stamp
            self._heard_at = time.monotonic()
            self._changed.notify_all()


class DepthViews:
    """Puts the depth image and the calibration of a tracked image together."""

    def __init__(
        self, node: LifecycleNode, calibration: Calibration, statistics: Statistics
    ) -> None:
        """Listen to `depth`.

        Args:
            node: its parameters `depth_...` are declared.
            calibration: of the camera.
            statistics: told of images without depth, and how far the stamps are apart.
        """
        self._node = node
        self._images = DepthImages(node)
        self._calibration = calibration
        self._statistics = statistics
        self._rays: tuple[Camera, NDArray[np.float32]] | None = None

    def of(self, header: Header, height: int, width: int) -> DepthView | None:
        """Return what is known of the space before an image.

        None where nobody publishes depth, and where something is missing or does not fit, which
        the statistics then count as `images_without_depth`.

        Args:
            header: of the image.
            height: of the image.
            width: of the image.
        """
        if not self._images.offered:
            return None
        try:
            return self._view(header, height, width)
        except (DepthError, CameraError, ImageFormatError) as error:
            self._statistics.count('images_without_depth', str(error))
            return None

    def _view(self, header: Header, height: int, width: int) -> DepthView:
        camera = self._calibration.camera(height, width)
        image_ns = stamp_ns(header)
        message = self._images.find(
            image_ns, self._value('depth_tolerance'), self._value('depth_wait')
        )
        topic = self._images.topic
        if (message.height, message.width) != (height, width):
            raise DepthError(
                f'{topic} has {message.width}x{message.height} pixels, the image '
                f'{width}x{height}: choose the depth that is registered to the colour image'
            )
        frames = message.header.frame_id, header.frame_id
        if all(frames) and frames[0] != frames[1]:
            raise DepthError(
                f'{topic} is in the frame {frames[0]!r}, the image in {frames[1]!r}: choose the '
                f'depth that is registered to the colour image'
            )
        depth = image_to_depth(message)
        if self._rays is None or self._rays[0] is not camera:
            self._rays = camera, image_rays(camera)
        apart = abs(stamp_ns(message.header) - image_ns) / NANOSECONDS
        self._statistics.stages({DEPTH_OFFSET: apart})
        options = DepthOptions(
            self._value('depth_min'), self._value('depth_max'), self._value('depth_erosion')
        )
        return DepthView(depth, self._rays[1], options)

    def _value(self, name: str) -> float:
        return self._node.get_parameter(name).value
