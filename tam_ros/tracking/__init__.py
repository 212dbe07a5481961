# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The trackers: prompts and images in, masks out. Needs numpy and OpenCV only."""

from tam_ros.tracking.clip_tracker import ClipTracker
from tam_ros.tracking.frame_result import FrameResult, ObjectState, TrackedObject
from tam_ros.tracking.network_input import FrameError
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import Prompt, PromptError
from tam_ros.tracking.saved_tracks import SavedTracksError
from tam_ros.tracking.tracker import EncodedImage, Tracker

__all__ = [
    'ClipTracker',
    'EncodedImage',
    'FrameError',
    'FrameResult',
    'ObjectState',
    'Prompt',
    'PromptError',
    'SavedTracksError',
    'TrackedObject',
    'Tracker',
    'TrackerOptions',
]
