# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Start the tracking node on one camera.

ros2 launch tam_ros track.launch.py image:=/camera/color/image_raw
ros2 launch tam_ros track.launch.py --show-args

Every parameter of the node is also an argument. Without an argument, the value of the parameter
file applies. How to include this file in another one is described in docs/topics.md.
"""

import time
from pathlib import Path

from ament_index_python import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import ExecuteProcess, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from tam_ros.ros import launching, recording
from tam_ros.ros.parameters import PARAMETERS


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; `start` runs when their values are known."""
    return LaunchDescription(
        [
            *launching.declare(node_arguments()),
            *launching.declare(launching.parameter_arguments()),
            OpaqueFunction(function=start),
        ]
    )


def node_arguments() -> list[launching.Argument]:
    """Return the arguments that are not parameters of the node."""
    return launching.node_arguments(Path(get_package_share_directory('tam_ros')))


def start(context: LaunchContext) -> list[Action]:
    """Return the actions for the values of the arguments."""
    value = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in node_arguments()
    }
    config = launching.existing_file('config', value['config'])
    in_file = launching.read_parameter_file(config)
    given = given_parameters(context)
    environment = launching.profile(value['fastdds_profile'])
    topics = launching.remapped_topics(value)
    node = Node(
        package='tam_ros',
        executable='track_node',
        name=value['name'],
        namespace=value['namespace'],
        output='screen',
        parameters=[str(config), given],
        remappings=list(topics.items()),
        arguments=['--ros-args', '--log-level', value['log_level']],
        additional_env=environment,
        respawn=launching.is_true('respawn', value['respawn']),
        respawn_delay=2.0,
    )
    actions = [node, *(Node(**page) for page in launching.page_node(value, environment))]
    if not launching.is_true('record', value['record']):
        return actions
    values = in_file | {name: one.evaluate(context) for name, one in given.items()}
    return [*actions, *record(value, topics, values, environment)]


def given_parameters(context: LaunchContext) -> dict[str, ParameterValue]:
    """Return the parameters that were given as arguments, with their declared types."""
    types = {row.name: type(row.default) for row in PARAMETERS} | {'use_sim_time': bool}
    return {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in types.items()
        if LaunchConfiguration(name).perform(context)
    }


def record(
    value: dict[str, str],
    topics: dict[str, str],
    parameters: dict[str, object],
    environment: dict[str, str],
) -> list[Action]:
    """Return the process that records inputs and results of the node, and what it announces.

    Args:
        value: the arguments.
        topics: the remapped topics of the node.
        parameters: parameters of the node, from the file and as arguments.
        environment: additional environment variables.
    """
    for package in ('ros2bag', 'rosbag2_storage_mcap'):
        launching.require_package(package, 'record:=true')
    folder = recording.new_folder(
        value['record_to'], value['namespace'], time.strftime('%Y%m%d_%H%M%S')
    )
    recorded = recording.topics(value['namespace'], value['name'], topics, parameters)
    return [
        LogInfo(msg=f'recording to {folder}'),
        ExecuteProcess(
            name='recorder',
            cmd=recording.command(folder, recorded, bool(parameters.get('use_sim_time'))),
            additional_env=environment,
            output='screen',
        ),
    ]
