# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What differs between the distributions of ROS 2, in one place.

From ROS 2 itself; what the Python wheels of a distribution need is in requirements-ros-DISTRO.txt.
"""

from __future__ import annotations

import os

_DISTRO = os.environ.get('ROS_DISTRO', '')

PROFILE_VARIABLE = (
    'FASTRTPS_DEFAULT_PROFILES_FILE'
    if _DISTRO in ('humble', 'iron', 'jazzy')
    else 'FASTDDS_DEFAULT_PROFILES_FILE'
)
"""Environment variable with the profile of Fast DDS, renamed in its version 3, that of Kilted."""

ON_THIS_MACHINE = (
    {'ROS_LOCALHOST_ONLY': '1'}
    if _DISTRO == 'humble'
    else {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
)
"""Environment variables with which nodes find only those on the same machine."""

BEFORE_RECORDED_TOPICS = () if _DISTRO == 'humble' else ('--topics',)
"""Option of `ros2 bag record` before the topics. Later distributions warn without it."""
