# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is to be seen in an image, before anybody points: detectors, detections, suppression."""

from tam_ros.detection.detections import Detections
from tam_ros.detection.detector import Detector, DetectorOptions, detector_names
from tam_ros.detection.suppression import suppress

__all__ = ['Detections', 'Detector', 'DetectorOptions', 'detector_names', 'suppress']
