# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What operators and detectors mean, as requests for the tracker; without ROS."""

from tam_ros.prompting.clicks import MODES, Clicks
from tam_ros.prompting.detections import Detection, DetectionRules, Detections
from tam_ros.prompting.request import Action, PromptRequest
from tam_ros.prompting.scenes import Scene, Scenes, Sight

__all__ = [
    'MODES',
    'Action',
    'Clicks',
    'Detection',
    'DetectionRules',
    'Detections',
    'PromptRequest',
    'Scene',
    'Scenes',
    'Sight',
]
