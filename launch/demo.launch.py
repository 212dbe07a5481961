# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Start a camera that plays the drawn clip in a loop, the node, and prompts for two objects.

ros2 launch tam_ros demo.launch.py
ros2 run rqt_image_view rqt_image_view /track_node/overlay
"""

import json

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from tam_ros.demo.scene import DemoScene

ARGUMENTS = {
    'model': ('efficienttam_nano', 'Name of the model in the catalogue (engines/models.yaml).'),
    'weights': ('', 'Checkpoint file. Empty: the weights of the catalogue.'),
}


def generate_launch_description() -> LaunchDescription:
    """Repeat the first image until every prompt is accepted, then start playing."""
    track = PathJoinSubstitution([FindPackageShare('tam_ros'), 'launch', 'track.launch.py'])
    calls = [
        call('/track_node/add_prompt', 'tam_ros/srv/AddPrompt', request(prompt))
        for prompt in DemoScene().prompts
        if prompt.frame == 0
    ]
    calls.append(call('/camera/play', 'std_srvs/srv/Trigger', {}))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(track),
                launch_arguments={
                    'image': '/image',
                    # As in `make demo`.
                    'skip_occluded_memories': 'true',
                    'qos_reliability': 'reliable',
                    **{name: LaunchConfiguration(name) for name in ARGUMENTS},
                }.items(),
            ),
            Node(
                package='tam_ros',
                executable='demo_camera',
                name='camera',
                output='screen',
                arguments=['--loop', '--wait-for-play'],
            ),
            # One after another; each call waits for its service.
            *(
                RegisterEventHandler(OnProcessExit(target_action=before, on_exit=[after]))
                for before, after in zip(calls, calls[1:], strict=False)
            ),
            calls[0],
        ]
    )


def call(service: str, kind: str, fields: dict) -> ExecuteProcess:
    """Call a service from the command line. JSON is valid YAML."""
    return ExecuteProcess(
        cmd=['ros2', 'service', 'call', service, kind, json.dumps(fields)], output='screen'
    )


def request(prompt) -> dict:
    """Return a prompt of the demo as the fields of ~/add_prompt."""
    fields = {'object_id': prompt.object_id}
    if prompt.box is not None:
        fields['box'] = [float(edge) for edge in prompt.box]
    if prompt.points:
        fields['points'] = [{'x': float(x), 'y': float(y)} for x, y in prompt.points]
        fields['point_labels'] = list(prompt.labels)
    return {'prompt': fields}
