# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Start the tracking node on one camera, with Fast DDS over UDP instead of shared memory.

ros2 launch tam_ros fastdds_udp.launch.py image:=/camera/color/image_raw

For containers and users that cannot share memory. The arguments are those of track.launch.py.
"""

import os
from pathlib import Path

from ament_index_python import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir

from tam_ros.ros import launching
from tam_ros.ros.middleware import udp_warnings


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments of track.launch.py, and include it with another profile."""
    share = Path(get_package_share_directory('tam_ros'))
    profile = str(share / 'config' / 'fastdds_udp.xml')
    arguments = [
        argument._replace(default=profile) if argument.name == 'fastdds_profile' else argument
        for argument in (*launching.node_arguments(share), *launching.parameter_arguments())
    ]
    return LaunchDescription(
        [
            *launching.declare(arguments),
            *(LogInfo(msg=f'warning: {text}') for text in udp_warnings(os.environ)),
            GroupAction(
                [
                    SetEnvironmentVariable('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp'),
                    IncludeLaunchDescription(
                        PythonLaunchDescriptionSource(
                            PathJoinSubstitution([ThisLaunchFileDir(), 'track.launch.py'])
                        ),
                        launch_arguments=[
                            (argument.name, LaunchConfiguration(argument.name))
                            for argument in arguments
                        ],
                    ),
                ]
            ),
        ]
    )
