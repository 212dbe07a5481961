# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The Python client against a node in another process, over DDS."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from fakes.colour_tracker import SIZE, picture
from readme import run_example

TIMEOUT = 20.0
SHORT = 0.3  # where what is waited for does not come


@pytest.fixture
def make_client(ros):
    """Make clients; they are closed when the test ends."""
    from tam_ros.client import TamClient

    clients = []

    def make(*arguments, **options):
        clients.append(TamClient(*arguments, **{'timeout': TIMEOUT, **options}))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@contextmanager
def camera(peer, **places):
    """Publish a picture again and again from another thread."""
    stop = threading.Event()

    def run():
        while not stop.wait(0.03):
            peer.send(picture(**places))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_an_object_from_its_prompt_to_its_removal(start, make_peer, make_client):
    node, peer = start('-p', 'publish_masks:=true'), make_peer()
    peer.meet(node, picture())
    client = make_client()
    with camera(peer, red=(10, 10), green=(40, 20)):
        client.wait_until_active()
        client.wait_for_image()
        assert client.objects() == []
        red = client.add_point(15, 15, name='mug')
        green = client.add_box((38, 18, 52, 32), object_id=7)
        assert (red, green) == (1, 7)
        found = client.wait_until_visible(red)
        client.wait_until_visible(green)
        assert (found.name, found.state, found.visible) == ('mug', 'visible', True)
        assert found.box == (10, 10, 20, 20) and found.area == 100
        assert found.centroid == pytest.approx((14.5, 14.5))
        assert found.score == pytest.approx(0.9)
        assert found.position is None and found.extent is None
        assert found.frame_id == 'camera_optical'
        assert [item.id for item in client.objects()] == [1, 7]
        np.testing.assert_array_equal(found.mask, (picture(red=(10, 10)) == (200, 30, 30)).all(-1))
        labels = client.labels()
        assert labels.shape == SIZE and labels[15, 15] == red and labels[25, 45] == green
        client.remove(green)
        peer.wait('the removal', lambda: [item.id for item in client.objects()] == [1])
        client.reset()
        peer.wait('the reset', lambda: not client.objects())
        assert client.add_point(45, 25) == 1, 'ids start again'


def test_masks_refinement_and_replacement(graph, make_client):
    node, peer = graph
    client = make_client()
    image = picture(red=(10, 10), green=(40, 20))
    mask = (image == (200, 30, 30)).all(-1)
    with camera(peer, red=(10, 10), green=(40, 20)):
        client.wait_for_image()
        number = client.add_mask(mask)
        assert client.wait_until_visible(number).box == (10, 10, 20, 20)
        client.refine(number, [(16, 16), (30, 30)], [1, 0], name='red one')
        peer.wait('the name', lambda: client.objects()[0].name == 'red one')
        assert '[[16.0, 16.0], [30.0, 30.0]], [1, 0]' in node.log
        client.replace(number, [(45, 25)])
        peer.wait('the other object', lambda: client.objects()[0].box == (40, 20, 50, 30))
        client.replace(number, mask=mask.astype(np.uint8))
        peer.wait('the mask', lambda: client.objects()[0].box == (10, 10, 20, 20))
    with pytest.raises(ValueError, match=r'shape \[H, W\]'):
        client.add_mask(image)


def test_a_preview_is_a_mask_and_no_object(graph, make_client):
    from tam_ros.client import RequestRefusedError

    _, peer = graph
    client = make_client()
    image = picture(red=(10, 10), green=(40, 20))
    peer.track(image)
    stamp = peer.stamp_ns
    for given in (0, stamp):
        found = client.segment([(15, 15), (45, 25)], [1, 0], stamp=given)
        truth = (image == (200, 30, 30)).all(-1)
        assert np.count_nonzero(found.mask & truth) / np.count_nonzero(found.mask | truth) > 0.6
        x0, y0, x1, y1 = found.box
        assert x0 <= 12 and y0 <= 12 and 18 <= x1 <= 22 and 18 <= y1 <= 22
        assert found.predicted_iou == pytest.approx(0.75) and 0 < found.stability <= 1
        assert (found.stamp_ns, found.frame_id) == (stamp, 'camera_optical')
    for arguments, message in (
        ({'points': [(500, 15)]}, 'lies outside the image'),
        ({}, 'the prompt is empty'),
        ({'points': [(15, 15)], 'stamp': stamp - 10**10}, 'is not kept'),
        ({'mask': np.ones((3, 3)), 'stamp': 0}, 'the mask is 3x3 but the image 80x60'),
    ):
        with pytest.raises(RequestRefusedError, match=message):
            client.segment(**{'stamp': 0, **arguments})
    objects, _ = peer.track(image)
    assert len(objects.objects) == 0


def test_a_prompt_belongs_to_the_newest_image_seen(graph, make_client):
    node, peer = graph
    client = make_client()
    peer.track(picture(red=(10, 10)))
    assert client.newest_stamp_ns in (0, peer.stamp_ns)
    # An image may pass before the subscriptions have found each other.
    while client.newest_stamp_ns != peer.stamp_ns:
        peer.track(picture(red=(10, 10)))
        client.objects()
    seen = client.newest_stamp_ns
    client.add_point(15, 15)
    peer.track(picture(red=(30, 10)))
    assert f'prompt of 1 at {seen / 10**9}' in node.log
    due = peer.stamp_ns + 33_000_000
    client.add_point(35, 15, stamp=peer.header(due).stamp)
    client.add_point(35, 15, stamp=0)
    peer.track(picture(red=(30, 10)))
    assert f'prompt of 2 at {due / 10**9}' in node.log
    assert 'prompt of 3 at None' in node.log
    with pytest.raises(TypeError, match='nanoseconds'):
        client.add_point(35, 15, stamp=1.5)


def test_refusals_are_exceptions_with_the_words_of_the_node(graph, make_client):
    from tam_ros.client import PromptRefusedError, RequestRefusedError
    from tam_ros.msg import Prompt

    client = make_client()
    with pytest.raises(PromptRefusedError, match='no object 9') as caught:
        client.refine(9, [(1, 1)])
    assert caught.value.message == str(caught.value) and caught.value.object_id == 9
    with pytest.raises(PromptRefusedError, match='500'):
        client.add_point(500, 15)
    with pytest.raises(PromptRefusedError, match='is empty'):
        client.send_prompt(Prompt())
    with pytest.raises(PromptRefusedError, match='2 points, but 1 point_labels'):
        client.add_points([(1, 1), (2, 2)], [1])
    with pytest.raises(RequestRefusedError, match='no object 5'):
        client.remove(5)
    with pytest.raises(RequestRefusedError, match='unknown mode'):
        client.set_click_mode('sideways')
    number = client.add_point(15, 15)
    assert client.set_click_mode('include', object_id=number) == ('include', number)
    assert client.set_click_mode() == ('include', number)


def test_objects_that_are_not_visible(graph, make_client):
    _, peer = graph
    client = make_client()
    with camera(peer, red=(10, 10)):
        number = client.add_point(15, 15)
        client.wait_until_visible(number)
    with camera(peer, green=(40, 20)):
        peer.wait('the occlusion', lambda: not client.objects()[0].visible)
        found = client.wait_until_tracked(number)
        assert (found.box, found.centroid, found.area) == (None, None, 0)
        assert found.state == 'occluded'
        with pytest.raises(TimeoutError, match=f'object {number} is occluded'):
            client.wait_until_visible(number, SHORT)
        with pytest.raises(TimeoutError, match='object 9 is not among the tracked objects: 1'):
            client.wait_until_tracked(9, SHORT)


def test_masks_that_are_not_published(graph, make_client):
    _, peer = graph
    client = make_client()
    with camera(peer, red=(10, 10)):
        assert client.wait_until_visible(client.add_point(15, 15)).mask is None


def test_status(graph, make_client):
    client = make_client()
    status = client.status()
    assert set(status) == {'input', 'tracking', 'depth', 'prompts', 'model'}
    assert status['model'].values['model'] == 'colour'
    assert status['model'].level == 'warning'
    assert 'untrained' in status['model'].message


def test_no_node(make_client):
    client = make_client(timeout=SHORT)
    absent = 'no node /track_node is running'
    for request, what in (
        (lambda: client.add_point(1, 1), 'the service /track_node/add_prompt'),
        (client.reset, 'the service /track_node/reset'),
        (client.objects, 'the result of an image'),
        (client.labels, 'a label image'),
        (client.status, 'diagnostics of /track_node'),
        (client.wait_until_active, 'the service /track_node/get_state'),
        (client.wait_for_image, 'another tracked image'),
        (lambda: client.wait_until_visible(3), 'object 3 to be visible'),
    ):
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match=f'{what}: {absent}'):
            request()
        assert time.monotonic() - begin >= SHORT


def test_a_node_that_is_not_active(start, make_client):
    from tam_ros.client import PromptRefusedError, RequestRefusedError

    start('-p', 'autostart:=false')
    client = make_client()
    client.status()
    assert client.state() == 'unconfigured'
    with pytest.raises(PromptRefusedError, match='not configured'):
        client.add_point(15, 15)
    with pytest.raises(RequestRefusedError, match='not configured'):
        client.reset()
    with pytest.raises(TimeoutError, match='is unconfigured, not active: ros2 lifecycle set'):
        client.wait_until_active(timeout=SHORT)
    with pytest.raises(TimeoutError, match='tracked image: /track_node is unconfigured'):
        client.wait_for_image(timeout=SHORT)


def test_a_node_without_images(start, make_client):
    start('-p', 'image_timeout:=0.1')
    client = make_client()
    client.wait_until_active()

    def complaint():
        with pytest.raises(TimeoutError) as caught:
            client.wait_for_image(timeout=SHORT)
        return str(caught.value)

    deadline = time.monotonic() + TIMEOUT
    while 'input: nobody publishes /camera/image' not in (text := complaint()):
        assert time.monotonic() < deadline, text
    assert '/track_node is active' in text


def test_a_node_that_opens_its_model_for_long(start, make_client):
    start(COLOUR_TRACKER_BUILDING='600')
    client = make_client()
    deadline = time.monotonic() + TIMEOUT
    while client.status()['model'].values['lifecycle'] != 'configuring':
        assert time.monotonic() < deadline
    with pytest.raises(TimeoutError, match='to answer: /track_node is configuring; building'):
        client.wait_until_active(timeout=2.0)


def test_two_clients_at_once(graph, make_client):
    """Each gets the answers to its own questions, from several threads at a time."""
    _, peer = graph
    first, second = make_client(), make_client()

    def several(client):
        numbers = []
        for _ in range(5):
            numbers.append(client.add_point(15, 15))
            client.remove(numbers[-1])
        return numbers

    with camera(peer, red=(10, 10)), ThreadPoolExecutor(4) as pool:
        given = list(pool.map(several, (first, second, first, second)))
    assert sorted(number for numbers in given for number in numbers) == list(range(1, 21))


def test_a_node_in_a_namespace(start, make_peer, make_client):
    node = start('-r', '__ns:=/front')
    peer = make_peer(node_name='/front/track_node')
    peer.meet(node, picture())
    client = make_client('front/track_node')
    assert client.name == '/front/track_node'
    with camera(peer, red=(10, 10)):
        client.wait_until_visible(client.add_point(15, 15))
    assert client.status()['model'].values['model'] == 'colour'


@pytest.fixture
def own_node(ros):
    node = ros.create_node('owner')
    yield node
    node.destroy_node()


def test_a_node_that_the_caller_spins(graph, own_node):
    from rclpy.executors import MultiThreadedExecutor

    from tam_ros.client import TamClient

    _, peer = graph
    executor = MultiThreadedExecutor(2)
    executor.add_node(own_node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        with TamClient(node=own_node, timeout=TIMEOUT) as client, camera(peer, red=(10, 10)):
            assert client.node is own_node
            client.wait_until_visible(client.add_point(15, 15))
            # A callback of the same executor may wait for an answer as well.
            done = threading.Event()
            timer = own_node.create_timer(0.01, lambda: (client.reset(), done.set()))
            assert done.wait(TIMEOUT)
            own_node.destroy_timer(timer)
        assert not [client for client in own_node.clients if 'track_node' in client.srv_name]
    finally:
        executor.shutdown()
        thread.join()


def test_a_node_that_nobody_spins(graph, own_node):
    from tam_ros.client import TamClient

    with (
        TamClient(node=own_node, timeout=SHORT) as client,
        pytest.raises(TimeoutError, match='no executor spins the node'),
    ):
        client.objects()


def test_a_callback_must_not_wait_for_its_own_thread(make_client):
    client = make_client()
    raised = []
    done = threading.Event()

    def callback():
        try:
            client.reset()
        except RuntimeError as error:
            raised.append(str(error))
        done.set()

    client.node.create_timer(0.01, callback)
    assert done.wait(TIMEOUT)
    assert 'must not wait' in raised[0]


def test_a_callback_that_raises(make_client, capfd):
    client = make_client(timeout=SHORT)
    client.node.create_timer(0.01, lambda: 1 / 0)
    client._thread.join(TIMEOUT)
    with pytest.raises(TimeoutError, match='the thread of the client has ended'):
        client.objects()
    assert 'ZeroDivisionError' in capfd.readouterr().err


def test_the_example_of_the_readme(graph, capsys):
    _, peer = graph
    with camera(peer, size=(480, 640), red=(315, 235)):
        assert run_example('TamClient')['mug'] == 1
    assert capsys.readouterr().out == '1 mug visible (315, 235, 325, 245) None\n'


SCRIPT = """
import rclpy
from tam_ros.client import TamClient
{before}
with TamClient() as client:
    try:
        client.objects(timeout=0.2)
    except TimeoutError as error:
        print(error)
    print('own context', client.node.context is not rclpy.get_default_context())
print('initialised', rclpy.ok())
"""


@pytest.mark.parametrize(
    ('before', 'own'), [('', True), ('rclpy.init()', False)], ids=['alone', 'with rclpy']
)
def test_in_a_script(ros, before, own):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, '-c', SCRIPT.format(before=before)],
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f'own context {own}' in done.stdout
    assert f'initialised {not own}' in done.stdout
    assert 'no node /track_node is running' in done.stdout
