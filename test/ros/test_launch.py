# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The launch files; those tests that start them need `launch`."""

from __future__ import annotations

import ast
import importlib.util
import shutil
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / 'launch'
FILES = sorted(LAUNCH.glob('*.launch.py'))


@pytest.fixture
def load():
    pytest.importorskip('launch_ros', reason='launch and launch_ros are not installed here')

    def load(path):
        spec = importlib.util.spec_from_file_location(path.stem.replace('.', '_'), path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def launch(start):
    """Run launch files, which end with the test."""
    pytest.importorskip('launch_ros', reason='launch and launch_ros are not installed here')
    if shutil.which('ros2') is None:
        pytest.skip('the ros2 command is not installed here')

    def launch(file, **arguments):
        given = [f'{name}:={value}' for name, value in arguments.items()]
        return start(command=['ros2', 'launch', str(LAUNCH / file), *given], arguments=())

    return launch


@pytest.fixture
def call(make_peer):
    """Call a service of any node."""
    peer = make_peer()

    def call(kind, name, request, timeout=60.0):
        client = peer.node.create_client(kind, name)
        assert client.wait_for_service(timeout), f'no service {name}'
        future = client.call_async(request)
        peer.wait(f'the answer of {name}', future.done, timeout)
        return future.result()

    call.peer = peer
    return call


def read_parameters(call, node, *names):
    """Return the values of parameters of a node."""
    from rcl_interfaces.srv import GetParameters
    from rclpy.parameter import parameter_value_to_python

    request = GetParameters.Request(names=list(names))
    answer = call(GetParameters, f'{node}/get_parameters', request)
    return [parameter_value_to_python(value) for value in answer.values]


def subscribed(call, topic):
    """Wait until a topic has a subscriber."""
    node = call.peer.node
    call.peer.wait(f'a subscription to {topic}', lambda: node.count_subscribers(topic))
    return True


def test_there_are_launch_files():
    names = [path.name for path in FILES]
    assert names == ['cameras.launch.py', 'demo.launch.py', 'track.launch.py']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_they_compile(path):
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 'generate_launch_description' in functions


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_has_a_description(path, load):
    description = load(path).generate_launch_description()
    for argument in description.get_launch_arguments():
        assert argument.description


def test_every_parameter_is_an_argument_without_default(load):
    """A default would override the parameter file."""
    from tam_ros.ros.parameters import PARAMETERS

    module = load(LAUNCH / 'track.launch.py')
    arguments = module.generate_launch_description().get_launch_arguments()
    names = [argument.name for argument in arguments]
    assert len(names) == len(set(names)), 'a parameter has the name of an argument'
    defaults = {
        a.name: ''.join(part.text for part in a.default_value)
        for a in arguments
        if a.name not in module.ARGUMENTS
    }
    assert defaults == {parameter.name: '' for parameter in PARAMETERS}


@pytest.mark.slow
def test_arguments_override_the_parameter_file(launch, call, tmp_path):
    config = tmp_path / 'mine.yaml'
    config.write_text('/**:\n  ros__parameters:\n    max_objects: 5\n    lost_after: 7.5\n')
    process = launch(
        'track.launch.py',
        image='/eye/image_raw',
        namespace='robot',
        name='tracker',
        config=config,
        max_objects=3,
        skip_occluded_memories='true',
        lost_after=4,
        detections='/detector/boxes',
    )
    names = ('max_objects', 'skip_occluded_memories', 'lost_after', 'catch_up', 'use_sim_time')
    values = read_parameters(call, '/robot/tracker', *names)
    assert values == [3, True, 4.0, 4, False], process.log
    assert subscribed(call, '/eye/image_raw')
    assert subscribed(call, '/eye/camera_info')
    assert subscribed(call, '/eye/image_raw_mouse_left')
    assert subscribed(call, '/clicked_point')
    try:
        import vision_msgs.msg  # noqa: F401
    except ImportError:
        pass
    else:
        assert subscribed(call, '/detector/boxes')
    assert process.interrupt() == 0, process.log
    assert 'process has finished cleanly' in process.log


@pytest.mark.slow
def test_without_autostart_it_waits_for_a_manager(launch, call):
    from lifecycle_msgs.msg import State
    from lifecycle_msgs.srv import GetState

    launch('track.launch.py', autostart='false', fastdds_profile='none')
    answer = call(GetState, '/track_node/get_state', GetState.Request())
    assert answer.current_state.id == State.PRIMARY_STATE_UNCONFIGURED


@pytest.mark.slow
def test_an_invalid_value_ends_the_launch(launch):
    process = launch('track.launch.py', model='no_such_model')
    assert process.process.wait(60) == 0  # the launch itself has done what it was asked
    assert "no model 'no_such_model' in the catalogue" in process.log
    assert 'exit code 1' in process.log


@pytest.mark.slow
def test_a_node_for_each_camera(launch, call):
    process = launch('cameras.launch.py', cameras='front, rear', image='colour/image', threads=1)
    assert subscribed(call, '/front/colour/image')
    assert subscribed(call, '/rear/colour/camera_info')
    assert read_parameters(call, '/front/track_node', 'threads') == [1]
    assert read_parameters(call, '/rear/track_node', 'threads') == [1]
    assert process.interrupt() == 0, process.log


@pytest.mark.slow
def test_recording_without_ros2bag(launch):
    from ament_index_python import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix('ros2bag')
        pytest.skip('ros2bag is installed here')
    except PackageNotFoundError:
        pass
    process = launch('track.launch.py', record='true')
    assert process.process.wait(30) == 1
    assert 'record:=true needs the package ros2bag' in process.log
    assert 'process started' not in process.log


def test_the_recorded_topics(load):
    """Only the command is checked; ros2bag is not needed."""
    from launch import LaunchContext

    module = load(LAUNCH / 'track.launch.py')
    module.get_package_share_directory = lambda name: f'/opt/{name}'
    value = {'namespace': 'front', 'name': 'eye', 'record_to': 'day1', 'use_sim_time': 'true'}
    topics = {'image': 'colour/image', 'camera_info': '/shared/info'}
    action = module.recorder(value, topics)
    command = [''.join(part.perform(LaunchContext()) for part in word) for word in action.cmd]
    assert command[:3] == ['ros2', 'bag', 'record']
    assert command[command.index('--output') + 1] == 'day1/front'
    assert '--use-sim-time' in command
    assert command[-7:] == [
        '/front/colour/image',
        '/shared/info',
        '/front/eye/labels/compressed',
        '/front/eye/objects',
        '/tf',
        '/tf_static',
        '/diagnostics',
    ]


@pytest.mark.slow
def test_the_demo_tracks_two_objects(launch, make_peer):
    from ros_graph import NODE

    process, peer = launch('demo.launch.py'), make_peer(node_name=NODE)
    peer.wait(
        'two objects that are seen',
        lambda: any(
            sum(o.state == o.VISIBLE for o in m.objects) == 2 for m in peer.received['objects']
        ),
        timeout=90,
    )
    assert process.log.count('success=True') == 2
    peer.wait(
        'two prompts and the start of the clip',
        lambda: process.log.count('process has finished cleanly') == 3,
    )
    assert process.interrupt() == 0, process.log
    assert 'process has died' not in process.log
