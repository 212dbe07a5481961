# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The launch files; those tests that start them need `launch`."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from readme import ROOT, run_example

from tam_ros.ros.distribution import PROFILE_VARIABLE
from tam_ros.ros.launching import read_parameter_file

LAUNCH = ROOT / 'launch'
TOPICS = ROOT / 'docs' / 'topics.md'
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
    assert names == [
        'cameras.launch.py',
        'demo.launch.py',
        'fastdds_udp.launch.py',
        'track.launch.py',
        'zenoh.launch.py',
    ]


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


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_what_is_passed_on_is_declared(path, load):
    """So that --show-args lists it, with the parameters of the node."""
    from tam_ros.ros.parameters import PARAMETERS

    names = {a.name for a in load(path).generate_launch_description().get_launch_arguments()}
    if path.name != 'demo.launch.py':
        assert {parameter.name for parameter in PARAMETERS} <= names
        assert {'image', 'depth', 'config', 'record', 'record_to'} <= names
        assert ('namespace' in names) != (path.name == 'cameras.launch.py')


@pytest.fixture
def processes(load, monkeypatch, tmp_path):
    """Launch without starting processes; return the command and the environment of each."""
    import launch
    from launch.actions import ExecuteLocal, IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from tam_ros.ros import launching

    found = []

    def execute(action, context):
        action.prepare(context)
        found.append(action.process_description)

    monkeypatch.setattr(ExecuteLocal, 'execute', execute)
    # Packages that are not needed, since nothing is started.
    monkeypatch.setattr(launching, 'require_package', lambda *_: None)
    monkeypatch.chdir(tmp_path)

    def processes(source, **arguments):
        found.clear()
        if not isinstance(source, launch.LaunchDescription):
            source = launch.LaunchDescription(
                [
                    IncludeLaunchDescription(
                        PythonLaunchDescriptionSource(str(LAUNCH / source)),
                        launch_arguments=[(k, str(v)) for k, v in arguments.items()],
                    )
                ]
            )
        service = launch.LaunchService(noninteractive=True)
        service.include_launch_description(source)
        processes.status = service.run(shutdown_when_idle=True)
        return list(found)

    return processes


def parameters_of(process):
    """Return the parameters that were given to a node as arguments."""
    found = {}
    for name in process.final_cmd:
        if Path(name).is_file() and Path(name).name.startswith('launch_params'):
            found |= read_parameter_file(Path(name))
    return found


def test_parameters_and_profile_of_the_node(processes):
    (node,) = processes('track.launch.py', image='/cam/image_raw', threads=2, lost_after=4)
    assert node.final_env[PROFILE_VARIABLE].endswith('config/fastdds_images.xml')
    assert parameters_of(node) == {'threads': 2, 'lost_after': 4.0}
    assert 'image:=/cam/image_raw' in node.final_cmd
    assert 'camera_info:=/cam/camera_info' in node.final_cmd
    (node,) = processes('track.launch.py', fastdds_profile='none')
    assert node.final_env.get(PROFILE_VARIABLE) == os.environ.get(PROFILE_VARIABLE)


@pytest.mark.parametrize(
    ('file', 'arguments'),
    [
        ('track.launch.py', {'config': 'nosuch.yaml'}),
        ('track.launch.py', {'fastdds_profile': 'nosuch.xml'}),
        ('track.launch.py', {'record': 'perhaps'}),
        ('track.launch.py', {'runtime': 'abacus'}),
        ('track.launch.py', {'model': 'no_such_model'}),
        ('cameras.launch.py', {'cameras': ','}),
        ('cameras.launch.py', {'cameras': 'front,front'}),
        ('zenoh.launch.py', {'router': 'perhaps'}),
    ],
)
def test_what_is_wrong_ends_the_launch_before_it_starts(processes, file, arguments):
    assert processes(file, **arguments) == []
    assert processes.status == 1


def test_one_page_serves_all_cameras(processes):
    pytest.importorskip('aiohttp', reason='aiohttp is not installed here: make test installs it')
    nodes = processes('cameras.launch.py', cameras='front,rear', page='true', page_port=8123)
    commands = [' '.join(node.final_cmd) for node in nodes]
    assert [command.count('page_node') > 0 for command in commands] == [True, False, False]
    assert parameters_of(nodes[0]) == {'host': '127.0.0.1', 'port': 8123}
    assert len(processes('track.launch.py', page='true')) == 2
    assert len(processes('track.launch.py')) == 1


def test_a_recording(processes, tmp_path):
    node, recorder = processes('track.launch.py', record='true', depth='/cam/depth')
    command = recorder.final_cmd
    folder = command[command.index('--output') + 1]
    assert folder.startswith('tam_ros_2') and not folder.endswith('/')
    assert {'/image', '/cam/depth', '/track_node/prompt'} <= set(command)
    assert recorder.final_env[PROFILE_VARIABLE] == node.final_env[PROFILE_VARIABLE]

    config = tmp_path / 'mine.yaml'
    config.write_text('/**:\n  ros__parameters: {image_transport: compressed, use_sim_time: true}')
    (tmp_path / 'day1').mkdir()
    _, recorder = processes('track.launch.py', record='true', config=config, record_to='day1')
    command = recorder.final_cmd
    assert command[command.index('--output') + 1].startswith('day1/tam_ros_')
    assert '/image/compressed' in command and '--use-sim-time' in command
    _, recorder = processes(
        'track.launch.py', record='true', config=config, image_transport='raw', record_to='day2'
    )
    assert '/image' in recorder.final_cmd, 'an argument overrides the file'


def test_one_node_for_each_camera(processes):
    started = processes(
        'cameras.launch.py', cameras='front, rear,', image='color/image', threads=1, record='true'
    )
    assert len(started) == 4, 'nodes and recordings'
    assert '__ns:=/front' in started[0].final_cmd and '__ns:=/rear' in started[2].final_cmd
    assert parameters_of(started[0]) == parameters_of(started[2]) == {'threads': 1}
    commands = [one.final_cmd for one in (started[1], started[3])]
    front, rear = (Path(one[one.index('--output') + 1]) for one in commands)
    assert (front.name, rear.name) == ('front', 'rear')
    assert front.parent == rear.parent


def test_fast_dds_over_udp(processes):
    (node,) = processes('fastdds_udp.launch.py', image='/cam/image_raw', threads=2)
    assert node.final_env['RMW_IMPLEMENTATION'] == 'rmw_fastrtps_cpp'
    assert node.final_env[PROFILE_VARIABLE].endswith('config/fastdds_udp.xml')
    assert parameters_of(node) == {'threads': 2}
    assert 'image:=/cam/image_raw' in node.final_cmd


def test_zenoh_starts_its_router_unless_one_runs(processes, monkeypatch):
    from tam_ros.ros import middleware

    monkeypatch.setattr(middleware, 'zenoh_router_listens', lambda: True)
    (node,) = processes('zenoh.launch.py', threads=2)
    assert node.final_env['RMW_IMPLEMENTATION'] == 'rmw_zenoh_cpp'
    assert parameters_of(node) == {'threads': 2}


def test_the_example_of_a_robot_keeps_its_own_arguments_apart(processes, load):
    """docs/topics.md: the robot's `model` is none of the catalogue."""
    (node,) = processes(run_example('GroupAction', TOPICS)['generate_launch_description']())
    assert processes.status == 0
    assert parameters_of(node) == {'max_objects': 4}
    assert 'image:=/camera/color/image_raw' in node.final_cmd


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
def test_an_invalid_combination_ends_the_node(launch):
    process = launch('track.launch.py', remove_after='1')
    assert process.process.wait(60) == 0  # the launch itself has done what it was asked
    assert 'must be lost before it is removed' in process.log
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
    assert process.log.count('AddPrompt_Response(success=True') == 2
    peer.wait(
        'two prompts and the start of the clip',
        lambda: process.log.count('process has finished cleanly') == 3,
    )
    assert process.interrupt() == 0, process.log
    assert 'process has died' not in process.log
