# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Finds the depth image and the calibration of a tracked image."""

from __future__ import annotations

import threading
import time
from collections import deque
from posixpath import join
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecycleState, ManagedEntity, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from tam_ros.io.depth_messages import message_to_depth
from tam_ros.io.image_data import ImageFormatError
from tam_ros.ros.conversions import NANOSECONDS, stamp_ns
from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.diagnostics.statistics import (
    DEPTH_OFFSET,
    NO_POSITIONS,
    POSITIONS,
    Statistics,
)
from tam_ros.ros.geometry.calibration import Calibration
from tam_ros.ros.images.offers import Wanted
from tam_ros.ros.images.subscription import ImageSubscription
from tam_ros.ros.images.transports import DEPTH
from tam_ros.spatial import (
    Camera,
    CameraError,
    DepthOptions,
    DepthView,
    Location,
    image_rays,
    why_unusable,
)

DepthMessage: TypeAlias = Image | CompressedImage

KEPT = 30
"""Maximum number of depth images kept: one second of a camera, enough for slow trackers."""

KEPT_BYTES = 1 << 28
"""Memory that the kept depth images may take, but for the newest one."""

_SILENT_S = 1.0  # without a depth image for so long, `find` does not wait for one


class DepthError(RuntimeError):
    """There is no depth for an image; the message gives the reason."""


class DepthImages(ManagedEntity):
    """Keeps the newest depth images and finds that of a tracked image.

    An image is tracked before its depth is needed, so the depth may arrive during that time. The
    executor's thread receives depth images, another thread calls `find`. Subscribed while the node
    is active.
    """

    def __init__(self, node: LifecycleNode, parameters: NodeParameters) -> None:
        """Create it as a managed entity of the node.

        Args:
            node: node to subscribe with.
            parameters: parameters of the node; `qos_reliability` and `depth_transport` apply.
        """
        self._node = node
        self._parameters = parameters
        self._subscription: ImageSubscription | None = None
        self._changed = threading.Condition()
        self._kept: deque[tuple[int, DepthMessage]] = deque(maxlen=KEPT)
        self._newest_ns: int | None = None
        self._received_at = -np.inf
        self._name = node.resolve_topic_name('depth')
        node.add_managed_entity(self)

    @property
    def topic(self) -> str:
        """The topic that is subscribed to."""
        return self._subscription.topic if self._subscription is not None else self._name

    @property
    def available(self) -> bool:
        """Whether depth has a publisher, or had one since the node was activated."""
        return self._newest_ns is not None or (
            self._subscription is not None and self._node.count_publishers(self.topic) > 0
        )

    @property
    def problem(self) -> str:
        """What is wrong with the publishers of depth, or empty."""
        return self._subscription.problem if self._subscription is not None else ''

    def find(self, image_ns: int, tolerance: float, timeout: float) -> DepthMessage:
        """Return the depth image that is nearest in time to an image.

        Call it in the order of the images: older depth images are dropped.

        Args:
            image_ns: stamp of the image, nanoseconds.
            tolerance: seconds by which the two stamps may differ.
            timeout: seconds to wait for it if the newest one is older than the image and depth
                images are arriving.

        Raises:
            DepthError: none within the tolerance.
        """
        with self._changed:
            if time.monotonic() - self._received_at < _SILENT_S:
                self._changed.wait_for(
                    lambda: self._newest_ns is None or self._newest_ns >= image_ns, timeout
                )
            while self._kept and image_ns - self._kept[0][0] > tolerance * NANOSECONDS:
                self._kept.popleft()
            if self._newest_ns is None:
                reason = f': {self.problem}' if self.problem else ''
                raise DepthError(f'no depth image has arrived on {self.topic}{reason}')
            found = min(self._kept, key=lambda item: abs(item[0] - image_ns), default=None)
            nearest_ns = self._newest_ns if found is None else found[0]
            away = (nearest_ns - image_ns) / NANOSECONDS
            if found is None or abs(away) > tolerance:
                raise DepthError(
                    f'the nearest depth image is {abs(away):.3f} s '
                    f'{"older" if away < 0 else "newer"} than the image (depth_tolerance '
                    f'{tolerance:g}, depth_wait {timeout:g})'
                )
            return found[1]

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        wanted = Wanted(
            'depth',
            self._name,
            DEPTH[self._parameters.current.depth_transport],
            DEPTH,
            'depth_transport',
            self._parameters.current.qos_reliability,
            # Who gives the topic of depth expects positions.
            optional=self._name == join(self._node.get_namespace(), 'depth'),
        )
        self._subscription = ImageSubscription(
            self._node,
            wanted,
            self._keep,
            depth=5,
            timeout_s=lambda: self._parameters.current.image_timeout,
        )
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and drop the kept images."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        with self._changed:
            self._kept.clear()
            self._newest_ns = None
        return TransitionCallbackReturn.SUCCESS

    def _keep(self, message: DepthMessage) -> None:
        stamp = stamp_ns(message.header)
        with self._changed:
            if self._newest_ns is not None and stamp <= self._newest_ns:
                self._kept.clear()  # a recording was restarted
            self._kept.append((stamp, message))
            size = sum(len(one.data) for _, one in self._kept)
            while size > KEPT_BYTES and len(self._kept) > 1:
                size -= len(self._kept.popleft()[1].data)
            self._newest_ns = stamp
            self._received_at = time.monotonic()
            self._changed.notify_all()


class DepthViews:
    """Combines the depth image and the calibration of a tracked image."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        calibration: Calibration,
        statistics: Statistics,
    ) -> None:
        """Prepare to subscribe to `depth`.

        Args:
            node: node to subscribe with.
            parameters: parameters of the node; `depth_...` and `qos_reliability` apply.
            calibration: calibration of the camera.
            statistics: counts images without depth, and records the offset of the stamps.
        """
        self._parameters = parameters
        self._images = DepthImages(node, parameters)
        self._calibration = calibration
        self._statistics = statistics
        self._rays: tuple[Camera, NDArray[np.float32]] | None = None

    @property
    def problem(self) -> str:
        """What is wrong with the publishers of depth, or empty."""
        return self._images.problem

    def of(self, header: Header, height: int, width: int) -> DepthView | None:
        """Return the depth view of an image.

        Args:
            header: header of the image.
            height: height of the image.
            width: width of the image.

        Returns:
            None if depth has no publisher; also if depth or calibration are missing, do not match
            or have no usable value, which the statistics count as `images_without_depth`.
        """
        if not self._images.available:
            return None
        try:
            return self._view(header, height, width)
        except (DepthError, CameraError, ImageFormatError) as error:
            self._statistics.count('images_without_depth', str(error))
            return None

    def _view(self, header: Header, height: int, width: int) -> DepthView:
        parameters = self._parameters.current
        camera = self._calibration.camera(height, width)
        image_ns = stamp_ns(header)
        message = self._images.find(image_ns, parameters.depth_tolerance, parameters.depth_wait)
        topic = self._images.topic
        depth = message_to_depth(message, parameters.max_pixels)
        if depth.shape != (height, width):
            raise DepthError(
                f'{topic} has {depth.shape[1]}x{depth.shape[0]} pixels, the image '
                f'{width}x{height}: use the depth topic that is registered to the colour image'
            )
        frames = message.header.frame_id, header.frame_id
        other_frame = all(frames) and frames[0] != frames[1]
        if other_frame and not parameters.depth_ignore_frame:
            raise DepthError(
                f'{topic} is in the frame {frames[0]!r}, the image in {frames[1]!r}: use the '
                f'depth topic that is registered to the colour image, or set depth_ignore_frame '
                f'if this one is'
            )
        options = DepthOptions(
            parameters.depth_min,
            parameters.depth_max,
            parameters.depth_erosion,
            unit=parameters.depth_unit,
        )
        if reason := why_unusable(depth, options):
            raise DepthError(f'{topic}: {reason}')
        if self._rays is None or self._rays[0] is not camera:
            self._rays = camera, image_rays(camera)
        offset_s = abs(stamp_ns(message.header) - image_ns) / NANOSECONDS
        self._statistics.stages({DEPTH_OFFSET: offset_s})
        return _CountedView(self._statistics, depth, self._rays[1], options)


class _CountedView(DepthView):
    """A depth view that counts the objects whose position it knows, and those it does not."""

    def __init__(self, statistics: Statistics, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._statistics = statistics

    def locate(self, mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> Location | None:
        location = super().locate(mask, box)
        if location is not None:
            self._statistics.count(POSITIONS, '')
        else:
            nearest, farthest = self.options.nearest, self.options.farthest
            self._statistics.count(
                NO_POSITIONS,
                f'no depth between depth_min {nearest:g} m and depth_max {farthest:g} m is '
                f'measured on the object',
            )
        return location
