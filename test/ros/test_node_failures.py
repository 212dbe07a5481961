# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Failures around the node, with the node in its own process.

Malformed images, prompts and stamps are tested in test_node_graph.py, clicks in space in
test_node_prompts.py, weights in test_node_weights.py. Here: compressed images, the device, a slow
tracker, and resources that must not leak.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from fakes.colour_tracker import DEVICE_LOST, picture
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.qos import QoSProfile
from ros_graph import NodeProcess, add, change_state, click
from sensor_msgs.msg import CompressedImage

from tam_ros.catalogue import engines_dir
from tam_ros.process_usage import private_bytes
from tam_ros.ros.distribution import PROFILE_VARIABLE
from tam_ros.srv import AddPrompt

REAL_NODE = (sys.executable, '-m', 'tam_ros.ros.track_node')
BUNDLED = 'efficienttam_nano'
bundled = pytest.mark.skipif(
    not (engines_dir() / BUNDLED).is_dir(), reason='no trained weights are bundled'
)


# --- images ---


@pytest.mark.slow
def test_compressed_images_that_cannot_be_read(start, make_peer):
    start('-p', 'image_transport:=compressed')
    peer = make_peer(compressed=True)

    def send(image_format, data):
        peer.stamp_ns += 33_000_000
        header = peer.header(peer.stamp_ns)
        peer.images.publish(CompressedImage(header=header, format=image_format, data=data))
        return peer.stamp_ns

    jpeg = cv2.imencode('.jpg', picture(red=(10, 10)))[1].tobytes()
    peer.wait('results', lambda: send('jpeg', jpeg) and peer.received['objects'])
    assert add(peer, click(15, 15)).success
    for image_format, data, words in (
        ('jpeg', jpeg[: len(jpeg) // 2], 'truncated'),
        ('jpeg', b'no picture', 'not in a known image format'),
        ('jpeg', b'', 'has no data'),
        ('16UC1; compressedDepth', jpeg, 'is for depth'),
    ):
        refused = send(image_format, data)
        peer.diagnostics(
            lambda _, values, words=words: words in values.get('last_refused_images', '')
        )
        tracked = peer.message('objects', send('jpeg', jpeg))
        assert [item.id for item in tracked.objects] == [1], words
        seconds, nanoseconds = divmod(refused, 10**9)
        assert not any(
            (m.header.stamp.sec, m.header.stamp.nanosec) == (seconds, nanoseconds)
            for m in peer.received['objects']
        ), words


@pytest.mark.slow
def test_images_that_the_transport_loses_are_reported(start, make_peer, tmp_path):
    """With the default settings of Fast DDS, most large best-effort images are lost."""
    default_settings = {PROFILE_VARIABLE: ''}
    node, peer = start('-p', 'qos_reliability:=best_effort', **default_settings), make_peer()
    command = [
        sys.executable,
        '-m',
        'benchmark.camera',
        '--size',
        '1280x720',
        '--ros-args',
        '-r',
        'image:=/camera/image',
    ]
    camera = NodeProcess(command, tmp_path / 'camera.log', default_settings)
    try:
        status, values = peer.diagnostics(
            lambda status, values: (
                'lost in transport' in status.message and int(values['lost']) > 3
            ),
            timeout=60,
        )
        peer.wait('the log', lambda: PROFILE_VARIABLE in node.log)
    finally:
        camera.end()
    assert status.level == DiagnosticStatus.WARN
    assert float(values['lost_share']) > 0.05
    assert 'Traceback' not in node.log


# --- the device ---


def test_a_failing_device_loses_images_and_no_object(graph):
    """Nothing is published for these images; diagnostics report an error until the next one."""
    node, peer = graph
    assert add(peer, click(15, 15)).success
    image = picture(red=(10, 10))
    peer.track(image)
    lost = picture(red=(10, 10))
    lost[0, 0] = DEVICE_LOST
    stamps = []
    begin = time.monotonic()

    def failing(status, values):
        stamps.append(peer.send(lost))
        error = status.level == DiagnosticStatus.ERROR and 'device lost' in status.message
        return error and int(values['failures']) >= 10

    peer.diagnostics(failing, timeout=30)
    # The node answers meanwhile.
    assert peer.call(GetState, 'get_state', GetState.Request()).current_state.label == 'active'
    objects, _ = peer.track(image)
    assert [(item.id, item.area) for item in objects.objects] == [(1, 100)], 'it is still tracked'
    seen = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in peer.received['objects']}
    for stamp in stamps:
        assert divmod(stamp, 10**9) not in seen
    peer.received['diagnostics'].clear()
    _, values = peer.diagnostics(
        lambda status, values: 'failures' in values and status.level != DiagnosticStatus.ERROR
    )
    assert 'device lost' in values['last_failures']
    # At least ten failures, of which one is logged every five seconds.
    at_most = 1 + (time.monotonic() - begin) // 5
    assert 1 <= node.log.count('RuntimeError: device lost') <= at_most < 10


# --- a slow tracker ---


@pytest.mark.slow
def test_requests_are_answered_while_an_image_takes_long(start, make_peer):
    node, peer = start(COLOUR_TRACKER_DELAY='1.5'), make_peer()
    peer.meet(node, picture(red=(10, 10)))
    answers = {}

    def ask(name, kind, service, request):
        answers[name] = peer.call(kind, service, request, timeout=60)

    stamp = peer.send(picture(red=(10, 10)))
    peer.wait('the step', lambda: f'step at {stamp / 10**9}' in node.log)
    prompt = AddPrompt.Request(prompt=click(15, 15))
    questions = [
        ('parameters', GetParameters, 'get_parameters', GetParameters.Request(names=['model'])),
        ('state', GetState, 'get_state', GetState.Request()),
        ('prompt', AddPrompt, 'add_prompt', prompt),
    ]
    threads = [threading.Thread(target=ask, args=one) for one in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(answers) == {'parameters', 'state', 'prompt'}
    # No further image is sent: an answer that waited for one would never come.
    assert answers['prompt'].success


@pytest.mark.slow
def test_a_burst_of_requests_is_answered(start, make_peer):
    """Thirty requests while images take half a second: each is answered without thirty images."""
    node, peer = start(COLOUR_TRACKER_DELAY='0.5'), make_peer()
    peer.meet(node, picture())
    client = peer.node.create_client(
        AddPrompt, '/track_node/add_prompt', qos_profile=QoSProfile(depth=100)
    )
    assert client.wait_for_service(20)
    ended = threading.Event()

    def play():
        while not ended.wait(0.05):
            peer.send(picture(red=(10, 10)))

    camera = threading.Thread(target=play)
    camera.start()
    try:
        begin = time.monotonic()
        futures = [client.call_async(AddPrompt.Request(prompt=click(500, 10))) for _ in range(30)]
        peer.wait('every answer', lambda: all(one.done() for one in futures), timeout=30)
        took = time.monotonic() - begin
    finally:
        ended.set()
        camera.join()
    assert all('outside the image' in one.result().message for one in futures)
    assert took < 10, 'thirty images would take fifteen seconds'


@pytest.mark.slow
def test_an_image_that_never_ends_is_reported(start, make_peer):
    """Diagnostics continue, and a request is answered with the reason."""
    node, peer = start(COLOUR_TRACKER_DELAY='25'), make_peer()
    deadline = time.monotonic() + 20
    while not any(
        'processed for' in status.message
        for array in peer.received['diagnostics']
        for status in array.status
    ):
        assert time.monotonic() < deadline, node.log
        peer.send(picture())
        time.sleep(0.1)
    answer = peer.call(AddPrompt, 'add_prompt', AddPrompt.Request(prompt=click(15, 15)), 30)
    assert not answer.success
    assert 'the tracker was busy for over 10 s' in answer.message
    # The node does not wait forever for a tracker that hangs.
    begin = time.monotonic()
    node.interrupt(timeout=20)
    assert time.monotonic() - begin < 15
    assert 'hangs' in node.log


@pytest.mark.parametrize('managed', [False, True], ids=['at start', 'by a manager'])
def test_ctrl_c_while_a_model_is_opened(start, make_peer, managed):
    """The node ends at once and cleanly, also while an engine is built for minutes."""
    node, peer = (
        start('-p', f'autostart:={str(not managed).lower()}', COLOUR_TRACKER_OPENING='60'),
        make_peer(),
    )
    if managed:
        client = peer.node.create_client(ChangeState, '/track_node/change_state')
        assert client.wait_for_service(20)
        configure = Transition(id=Transition.TRANSITION_CONFIGURE)
        client.call_async(ChangeState.Request(transition=configure))
    # The activity is published while the executor is blocked.
    status, _ = peer.diagnostics(lambda status, values: 'opening' in values.get('activity', ''))
    assert status.message.startswith('opening efficienttam_nano')
    begin = time.monotonic()
    status = node.interrupt(timeout=15)
    assert time.monotonic() - begin < 8
    assert status in (0, 1), node.log
    assert 'Traceback' not in node.log
    with pytest.raises(ProcessLookupError):
        os.killpg(node.process.pid, 0)


def test_the_progress_of_building_engines_is_reported(start, make_peer):
    """The executor is blocked meanwhile; Ctrl-C stops the builder between two steps."""
    node, peer = start(COLOUR_TRACKER_BUILDING='40'), make_peer()

    def reported():
        return {
            item.value
            for array in peer.received['diagnostics']
            for status in array.status
            for item in status.values
            if item.key == 'activity' and item.value.startswith('building')
        }

    peer.wait('several steps', lambda: len(reported()) >= 3)
    assert all(text.startswith('building mask_decoder ') for text in reported())
    assert any(text.endswith('% (2 of 4, timing)') for text in reported())
    assert node.log.count('building mask_decoder') <= 5, 'not every step is logged'
    begin = time.monotonic()
    node.interrupt(timeout=15)
    assert time.monotonic() - begin < 5
    assert 'Traceback' not in node.log


# --- leaks ---


def grown(values):
    """Return the growth from the second to the last third; in the first, memory settles."""
    third = len(values) // 3
    return np.median(values[-third:]) / np.median(values[third:-third]) - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ('command', 'cycles'),
    [
        pytest.param(None, 50, id='the node'),
        pytest.param(REAL_NODE, 30, id='with the bundled model', marks=bundled),
    ],
)
def test_lifecycle_cycles_do_not_leak(start, make_peer, command, cycles):
    arguments = ('-p', 'autostart:=false', '-p', 'threads:=1')
    # Freed memory is returned at once, so that a leak shows.
    malloc = {'MALLOC_ARENA_MAX': '1', 'MALLOC_TRIM_THRESHOLD_': '0'}
    node = start(*arguments, **({'command': command} if command else {}), **malloc)
    peer = make_peer()
    pid, memory, files, threads = node.process.pid, [], [], []
    for cycle in range(cycles):
        assert change_state(peer, 'configure'), node.log
        for _ in range(2):
            assert change_state(peer, 'activate'), node.log
            if cycle % 10 == 0:
                peer.received.clear()
                peer.meet(node, picture(red=(10, 10)))
                add(peer, click(15, 15))
                peer.track(picture(red=(10, 10)))
            assert change_state(peer, 'deactivate'), node.log
        assert change_state(peer, 'cleanup'), node.log
        memory.append(private_bytes(pid))
        files.append(len(os.listdir(f'/proc/{pid}/fd')))
        threads.append(len(os.listdir(f'/proc/{pid}/task')))
    assert grown(memory) < 0.03, [value // 10**6 for value in memory]
    assert files[-1] <= files[cycles // 3] + 2, files
    assert threads[-1] <= threads[cycles // 3] + 2, threads
    assert node.interrupt() == 0, node.log
    assert 'Traceback' not in node.log


@pytest.mark.slow
def test_a_camera_that_is_killed_and_comes_back(start, make_peer, tmp_path):
    """After SIGKILL the participant is not unregistered; the objects stay tracked."""
    node, peer = start('-p', 'qos_reliability:=best_effort'), make_peer()
    command = [
        sys.executable,
        '-m',
        'benchmark.camera',
        '--size',
        '80x60',
        '--rate',
        '10',
        '--ros-args',
        '-r',
        'image:=/camera/image',
    ]
    for life in range(2):
        camera = NodeProcess(command, tmp_path / f'camera{life}.log', {})
        try:
            count = len(peer.received['objects'])
            peer.wait('results', lambda count=count: len(peer.received['objects']) > count + 3)
            if life == 0:
                assert add(peer, click(40, 30)).success
            peer.wait('the object', lambda: peer.received['objects'][-1].objects)
            assert peer.received['objects'][-1].objects[0].id == 1
        finally:
            if life == 0:
                os.killpg(camera.process.pid, signal.SIGKILL)
                camera.process.wait()
            else:
                camera.end()
        if life == 0:
            peer.diagnostics(lambda status, _: 'no image for' in status.message)
    assert 'Traceback' not in node.log
