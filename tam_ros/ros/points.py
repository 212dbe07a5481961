# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Points in space to pixels: RViz's Publish Point, and pixels that come with a header."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PointStamped

from tam_ros.prompting.published_images import PublishedImage
from tam_ros.ros.calibration import Calibration
from tam_ros.ros.transforms import TransformError, Transforms
from tam_ros.spatial import CameraError
from tam_ros.tracking import PromptError


def pixel_of(
    message: PointStamped, image: PublishedImage, calibration: Calibration, transforms: Transforms
) -> tuple[float, float]:
    """Return the pixel at which a point is seen on an image.

    A point of the image's own frame with z = 0 is a pixel already. Any other is brought into that
    frame as it was when the image was taken: what stands still in the frame of the point is hit,
    wherever the camera has gone since.

    Args:
        message: the point, metres.
        image: the image.
        calibration: of its camera.
        transforms: of the robot.

    Raises:
        PromptError: not finite, no frame, no calibration, no transform, not in front of the camera
            or outside the image.
    """
    point = np.array([message.point.x, message.point.y, message.point.z])
    source, target = message.header.frame_id, image.frame_id
    if not np.isfinite(point).all():
        raise PromptError('coordinates are not finite')
    if not source:
        raise PromptError('the point has no frame_id: say which frame it is in')
    if source == target and point[2] == 0:
        return float(point[0]), float(point[1])
    try:
        camera = calibration.camera(*image.size)
        if source != target:
            if not target:
                raise PromptError('the images have no frame_id: the driver must name their frame')
            rotation, shift = transforms.look_up(target, source, image.stamp_ns)
            point = rotation @ point + shift
    except (CameraError, TransformError) as error:
        raise PromptError(str(error)) from error
    (pixel,) = camera.project(point)
    if np.isnan(pixel).any():
        raise PromptError(
            f'the point is not in front of the camera: it lies at ({point[0]:.3f}, '
            f'{point[1]:.3f}, {point[2]:.3f}) m in {target!r}'
        )
    x, y = map(float, pixel)
    if not camera.contains([pixel])[0]:
        raise PromptError(
            f'the point is seen at pixel ({x:.0f}, {y:.0f}), outside the image of '
            f'{camera.width}x{camera.height}'
        )
    return x, y
