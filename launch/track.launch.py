"""Start the tracking node on one camera.

ros2 launch tam_ros track.launch.py image:=/camera/color/image_raw
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    'image': ('image', 'Topic of the camera images.'),
    'image_transport': ('raw', '"raw" (sensor_msgs/Image) or "compressed" (CompressedImage).'),
    'model': ('efficienttam_nano', 'Model, a name of the catalogue (engines/models.yaml).'),
    'weights': ('', 'Checkpoint file; empty: the one the catalogue names.'),
    'runtime': ('onnxruntime', 'What runs the model.'),
    'namespace': ('', 'Namespace of the node; one for each camera.'),
    'name': ('track_node', 'Name of the node.'),
    'use_sim_time': ('false', 'Take the time from /clock, as for a bag played with --clock.'),
    'log_level': ('info', 'debug, info, warn or error.'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node with config/track.yaml under them."""
    share = FindPackageShare('tam_ros')
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                'config',
                default_value=PathJoinSubstitution([share, 'config', 'track.yaml']),
                description='Parameter file.',
            ),
            # Without it Fast DDS loses most best-effort images; other middlewares do not read it.
            SetEnvironmentVariable(
                'FASTRTPS_DEFAULT_PROFILES_FILE',
                PathJoinSubstitution([share, 'config', 'fastdds_images.xml']),
            ),
            Node(
                package='tam_ros',
                executable='track_node',
                name=value['name'],
                namespace=value['namespace'],
                output='screen',
                parameters=[
                    LaunchConfiguration('config'),
                    {
                        # Text like "0" or "" must stay text.
                        **{
                            name: ParameterValue(value[name], value_type=str)
                            for name in ('image_transport', 'model', 'weights', 'runtime')
                        },
                        'use_sim_time': ParameterValue(value['use_sim_time'], value_type=bool),
                    },
                ],
                remappings=[('image', value['image'])],
                arguments=['--ros-args', '--log-level', value['log_level']],
            ),
        ]
    )
