# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The tracker: prompts in, masks out; numpy and OpenCV only."""

from tam_ros.tracking.clip_tracker import ClipTracker
from tam_ros.tracking.frame_result import FrameResult
from tam_ros.tracking.images import FrameError
from tam_ros.tracking.objects import ObjectState, TrackedObject
from tam_ros.tracking.options import TrackerOptions
from tam_ros.tracking.prompts import Prompt, PromptError
from tam_ros.tracking.saved_tracks import ArchiveError
from tam_ros.tracking.tracker import Tracker

__all__ = [
    'ArchiveError',
    'ClipTracker',
    'FrameResult',
    'FrameError',
    'ObjectState',
    'Prompt',
    'PromptError',
    'TrackedObject',
    'Tracker',
    'TrackerOptions',
]
