# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Start one tracking node for each of several cameras.

ros2 launch tam_ros cameras.launch.py cameras:=front,rear image:=color/image_raw

tracks /front/color/image_raw in /front/track_node and /rear/color/image_raw in /rear/track_node.
Every argument of track.launch.py applies to all nodes; topics are relative to each namespace.
"""

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir


def generate_launch_description() -> LaunchDescription:
    """Declare the list of cameras."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'cameras',
                description='Namespaces of the cameras, separated by commas.',
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list[Action]:
    """Include track.launch.py once for each camera, each in its own process."""
    track = PathJoinSubstitution([ThisLaunchFileDir(), 'track.launch.py'])
    names = LaunchConfiguration('cameras').perform(context).split(',')
    return [
        # The group limits launch configurations to one camera.
        GroupAction(
            [
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(track),
                    launch_arguments={'namespace': name.strip()}.items(),
                )
            ]
        )
        for name in names
    ]
