# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Start the tracking node on one camera, with Zenoh instead of DDS, and the router it needs.

ros2 launch tam_ros zenoh.launch.py image:=/camera/color/image_raw

The camera must use Zenoh as well: export RMW_IMPLEMENTATION=rmw_zenoh_cpp. The other arguments are
those of track.launch.py.
"""

from pathlib import Path

from ament_index_python import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node

from tam_ros.ros import launching, middleware


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments of track.launch.py, and include it with Zenoh."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'router',
                default_value='auto',
                description='Whether to start a Zenoh router. auto: unless one listens on port '
                f'{middleware.ZENOH_ROUTER_PORT}.',
                choices=['auto', 'true', 'false'],
            ),
            *launching.declare(arguments()),
            OpaqueFunction(function=start),
        ]
    )


def arguments() -> list[launching.Argument]:
    """Return the arguments of track.launch.py except the profile of Fast DDS."""
    share = Path(get_package_share_directory('tam_ros'))
    every = (*launching.node_arguments(share), *launching.parameter_arguments())
    return [argument for argument in every if argument.name != 'fastdds_profile']


def start(context: LaunchContext) -> list[Action]:
    """Start the router if there is none, and the node."""
    launching.require_package('rmw_zenoh_cpp', 'zenoh.launch.py')
    router = LaunchConfiguration('router').perform(context)
    given = [(argument.name, LaunchConfiguration(argument.name)) for argument in arguments()]
    actions = [SetEnvironmentVariable('RMW_IMPLEMENTATION', 'rmw_zenoh_cpp')]
    if router == 'true' or (router == 'auto' and not middleware.zenoh_router_listens()):
        actions.append(Node(package='rmw_zenoh_cpp', executable='rmw_zenohd', output='screen'))
    elif router == 'auto':
        actions.append(
            LogInfo(msg=f'a Zenoh router already listens on port {middleware.ZENOH_ROUTER_PORT}')
        )
    track = PathJoinSubstitution([ThisLaunchFileDir(), 'track.launch.py'])
    actions.append(
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(track),
            launch_arguments=[*given, ('fastdds_profile', 'none')],
        )
    )
    return [GroupAction(actions)]
