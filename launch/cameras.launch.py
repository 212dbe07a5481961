# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Start one tracking node for each of several cameras.

ros2 launch tam_ros cameras.launch.py cameras:=front,rear image:=color/image_raw

tracks /front/color/image_raw in /front/track_node and /rear/color/image_raw in /rear/track_node.
The arguments of track.launch.py apply to all nodes; topics are relative to each namespace.
"""

import time
from pathlib import Path

from ament_index_python import get_package_share_directory
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
from launch_ros.actions import Node

from tam_ros.ros import launching


def generate_launch_description() -> LaunchDescription:
    """Declare the list of cameras, and what is passed on to each."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'cameras',
                description='Namespaces of the cameras, separated by commas.',
            ),
            *launching.declare(passed_on()),
            OpaqueFunction(function=start),
        ]
    )


def passed_on() -> list[launching.Argument]:
    """Return the arguments of track.launch.py except the namespace."""
    share = Path(get_package_share_directory('tam_ros'))
    arguments = (*launching.node_arguments(share), *launching.parameter_arguments())
    return [argument for argument in arguments if argument.name != 'namespace']


def start(context: LaunchContext) -> list[Action]:
    """Include track.launch.py once for each camera, each in its own process."""
    track = PathJoinSubstitution([ThisLaunchFileDir(), 'track.launch.py'])
    value = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in passed_on()
    }
    # One folder for all cameras, even if the clock reaches the next second.
    value['record_to'] = value['record_to'] or time.strftime('tam_ros_%Y%m%d_%H%M%S')
    # One page for all cameras.
    page = launching.page_node(value, launching.profile(value['fastdds_profile']))
    value['page'] = 'false'
    cameras = [
        # The group limits launch configurations to one camera.
        GroupAction(
            [
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(track),
                    launch_arguments={**value, 'namespace': name}.items(),
                )
            ]
        )
        for name in launching.camera_namespaces(LaunchConfiguration('cameras').perform(context))
    ]
    return [*(Node(**one) for one in page), *cameras]
