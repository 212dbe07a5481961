# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Camera geometry and the positions of objects from depth images; needs numpy and OpenCV only."""

from tam_ros.spatial.camera import Camera, CameraError
from tam_ros.spatial.depth import CLOUD_TYPE, DepthView, Location, image_rays
from tam_ros.spatial.depth_values import DepthOptions, why_unusable

__all__ = [
    'CLOUD_TYPE',
    'Camera',
    'CameraError',
    'DepthOptions',
    'DepthView',
    'Location',
    'image_rays',
    'why_unusable',
]
