# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Projects points to pixels, such as those of RViz's Publish Point."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PointStamped

from tam_ros.prompting.published_images import PublishedImage
from tam_ros.ros.geometry.calibration import Calibration
from tam_ros.ros.geometry.transforms import TransformError, Transforms
from tam_ros.spatial import CameraError
from tam_ros.tracking import PromptError


def pixel_of(
    message: PointStamped, image: PublishedImage, calibration: Calibration, transforms: Transforms
) -> tuple[float, float]:
    """Return the pixel of a point on an image.

    A point in the frame of the image with z = 0 already is a pixel. Any other point is transformed
    to that frame at the time of the image, so that it is correct for static objects even if the
    camera has moved since.

    Args:
        message: the point, metres; or a pixel.
        image: the image.
        calibration: calibration of its camera.
        transforms: transforms of the robot.

    Raises:
        PromptError: the point is not finite, has no frame, is not in front of the camera or is
            outside the image; or there is no calibration or no transform.
    """
    point = np.array([message.point.x, message.point.y, message.point.z])
    source, target = message.header.frame_id, image.frame_id
    if not np.isfinite(point).all():
        raise PromptError('coordinates are not finite')
    if not source:
        raise PromptError('the point has no frame_id: set the frame it is in')
    if source == target and point[2] == 0:
        return float(point[0]), float(point[1])
    try:
        camera = calibration.camera(*image.size)
        if source != target:
            if not target:
                raise PromptError('the images have no frame_id: the driver must set it')
            rotation, shift = transforms.look_up(target, source, image.stamp_ns)
            point = rotation @ point + shift
    except (CameraError, TransformError) as error:
        raise PromptError(str(error)) from error
    (pixel,) = camera.project(point)
    if np.isnan(pixel).any():
        raise PromptError(
            f'the point is not in front of the camera: it is at ({point[0]:.3f}, '
            f'{point[1]:.3f}, {point[2]:.3f}) m in {target!r}'
        )
    x, y = map(float, pixel)
    if not camera.contains([pixel])[0]:
        raise PromptError(
            f'the point is at pixel ({x:.0f}, {y:.0f}), outside the image of '
            f'{camera.width}x{camera.height}'
        )
    return x, y
