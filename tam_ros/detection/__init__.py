# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is to be seen in an image, before anybody points: detections and their suppression."""

from tam_ros.detection.detections import Detections
from tam_ros.detection.suppression import suppress

__all__ = ['Detections', 'suppress']
