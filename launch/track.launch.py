# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Start the tracking node on one camera.

ros2 launch tam_ros track.launch.py image:=/camera/color/image_raw
ros2 launch tam_ros track.launch.py --show-args

Every parameter of the node is also an argument. Without an argument, the value of the parameter
file applies.
"""

import time
from posixpath import dirname, join

from ament_index_python import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    PathJoinSubstitution,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from tam_ros.ros.parameters import PARAMETERS

PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'
CONFIG = PathJoinSubstitution([FindPackageShare('tam_ros'), 'config'])

ARGUMENTS = {
    'image': ('image', 'Topic of the camera images.'),
    'camera_info': (
        '',
        'Topic of the calibration. Empty: camera_info in the namespace of the images.',
    ),
    'depth': ('depth', 'Topic of depth images registered to the images, for positions.'),
    'click': ('', 'Topic of clicks in pixels. Empty: the topic of rqt_image_view for the images.'),
    'clicked_point': ('/clicked_point', 'Topic of clicked points, from RViz.'),
    'detections': ('', 'Topic of boxes from a detector. Empty: ~/detections of the node.'),
    'namespace': ('', 'Namespace of the node; one for each camera.'),
    'name': ('track_node', 'Name of the node.'),
    'config': (PathJoinSubstitution([CONFIG, 'track.yaml']), 'Parameter file.'),
    'use_sim_time': ('', 'true: use the time of /clock, for a bag that is played with --clock.'),
    'log_level': ('info', 'debug, info, warn or error.'),
    'respawn': ('false', 'true: restart the node whenever it ends.'),
    'fastdds_profile': (
        EnvironmentVariable(
            PROFILES, default_value=PathJoinSubstitution([CONFIG, 'fastdds_images.xml'])
        ),
        'Profile with which Fast DDS does not lose large images. none: its default settings.',
    ),
    'record': ('false', 'true: record images, masks and objects with ros2 bag.'),
    'record_to': (
        '',
        'New folder for the recording; the namespace is a subfolder. Empty: named after the time.',
    ),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; `start` runs when their values are known."""
    arguments = {**ARGUMENTS, **{row.name: ('', row.description) for row in PARAMETERS}}
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in arguments.items()
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list[Action]:
    """Return the actions for the values of the arguments."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # image_transport and rqt_image_view name their topics after the raw one.
    camera = value['image'].removesuffix('/compressed')
    topics = {
        'image': value['image'],
        'camera_info': value['camera_info'] or join(dirname(camera), 'camera_info'),
        'depth': value['depth'],
        '~/click': value['click'] or f'{camera}_mouse_left',
        'clicked_point': value['clicked_point'],
        '~/detections': value['detections'] or '~/detections',
    }
    actions: list[Action] = []
    if value['fastdds_profile'] != 'none':
        # Other middlewares ignore it.
        actions.append(SetEnvironmentVariable(PROFILES, value['fastdds_profile']))
    actions.append(
        Node(
            package='tam_ros',
            executable='track_node',
            name=value['name'],
            namespace=value['namespace'],
            output='screen',
            parameters=[value['config'], given_parameters(context)],
            remappings=list(topics.items()),
            arguments=['--ros-args', '--log-level', value['log_level']],
            respawn=is_true(value['respawn']),
            respawn_delay=2.0,
        )
    )
    if is_true(value['record']):
        actions.append(recorder(value, topics))
    return actions


def given_parameters(context: LaunchContext) -> dict[str, ParameterValue]:
    """Return the parameters that were given as arguments, with their declared types."""
    types = {row.name: type(row.default) for row in PARAMETERS} | {'use_sim_time': bool}
    return {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in types.items()
        if LaunchConfiguration(name).perform(context)
    }


def recorder(value: dict[str, str], topics: dict[str, str]) -> ExecuteProcess:
    """Return the process that records inputs and results of the node."""
    for package in ('ros2bag', 'rosbag2_storage_mcap'):
        try:
            get_package_share_directory(package)
        except PackageNotFoundError as error:
            raise RuntimeError(
                f'record:=true needs the package {package}: '
                f'sudo apt-get install ros-$ROS_DISTRO-{package.replace("_", "-")}'
            ) from error
    namespace = join('/', value['namespace'])
    node = join(namespace, value['name'])
    folder = value['record_to'] or time.strftime('tam_ros_%Y%m%d_%H%M%S')
    return ExecuteProcess(
        name='recorder',
        cmd=[
            *('ros2', 'bag', 'record', '--storage', 'mcap'),
            *('--storage-preset-profile', 'zstd_fast'),
            *(('--use-sim-time',) if is_true(value['use_sim_time']) else ()),
            *('--output', join(folder, value['namespace'].strip('/'))),
            # Humble has no option --topics.
            *(join(namespace, topics[name]) for name in ('image', 'camera_info')),
            *(join(node, name) for name in ('labels/compressed', 'objects')),
            *('/tf', '/tf_static', '/diagnostics'),
        ],
        output='screen',
    )


def is_true(text: str) -> bool:
    """Return whether a launch argument is true, by the rules of launch."""
    return text.lower() in ('true', '1')
