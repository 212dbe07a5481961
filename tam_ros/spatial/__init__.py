# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Camera geometry and the positions of objects from depth images; needs numpy and OpenCV only."""

from tam_ros.spatial.camera import Camera, CameraError
from tam_ros.spatial.depth import CLOUD_TYPE, DepthOptions, DepthView, Location, image_rays

__all__ = [
    'CLOUD_TYPE',
    'Camera',
    'CameraError',
    'DepthOptions',
    'DepthView',
    'Location',
    'image_rays',
]
