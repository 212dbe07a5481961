# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts as visualization tools and detectors send them: clicks, points, masks, boxes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fakes.colour_tracker import SIZE, picture
from geometry_msgs.msg import Point, PointStamped, TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_graph import NODE
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from tam_ros.ros.conversions import array_to_image
from tam_ros.srv import RemoveObject, SetClickMode

IMAGE = picture(red=(10, 10), green=(30, 10), blue=(50, 10))
RED, GREEN, BLUE, GROUND = (15, 15), (35, 15), (55, 15), (70, 50)
# A camera whose optical axis passes through the middle of the red square.
CAMERA = {
    'height': SIZE[0],
    'width': SIZE[1],
    'distortion_model': 'plumb_bob',
    'd': [0.0] * 5,
    'k': [100.0, 0.0, 15.0, 0.0, 100.0, 15.0, 0.0, 0.0, 1.0],
    'p': [100.0, 0.0, 15.0, 0.0, 0.0, 100.0, 15.0, 0.0, 0.0, 0.0, 1.0, 0.0],
}


class Operator:
    """Sends the messages of tools once they have a subscriber, and checks the effect."""

    def __init__(self, node, peer):
        self.node, self.peer = node, peer
        self._talkers = {}

    def send(self, topic, message):
        publisher = self._talkers.get(topic)
        if publisher is None:
            publisher = self.peer.node.create_publisher(type(message), topic, 5)
            self._talkers[topic] = publisher
            self.peer.wait(f'a subscriber of {topic}', publisher.get_subscription_count)
        publisher.publish(message)

    def click(self, x, y, topic='click'):
        self.send(f'{NODE}/{topic}', Point(x=float(x), y=float(y)))

    def calibrate(self):
        """Send several camera infos, as a driver does."""
        for _ in range(10):
            self.send('/camera_info', CameraInfo(**CAMERA))
            time.sleep(0.1)

    def point(self, x, y, z, frame_id='camera_optical'):
        header = self.peer.header(time.time_ns(), frame_id)  # RViz takes the time of the click
        point = Point(x=float(x), y=float(y), z=float(z))
        self.send('/clicked_point', PointStamped(header=header, point=point))

    def says(self, *words, times=1):
        """Wait until so many lines of the log contain these words."""

        def logged():
            lines = self.node.log.splitlines()
            return sum(all(word in line for word in words) for line in lines) >= times

        self.peer.wait(f'{words} in the log:\n{self.node.log}', logged)

    def objects(self, image=IMAGE):
        return [item.id for item in self.peer.track(image)[0].objects]

    def mode(self, mode='', object_id=0):
        request = SetClickMode.Request(mode=mode, object_id=object_id)
        return self.peer.call(SetClickMode, 'set_click_mode', request)


@pytest.fixture
def operator(graph):
    made = Operator(*graph)
    made.peer.track(IMAGE)
    return made


def test_clicks_add_select_and_correct(operator):
    """In the mode auto; every click belongs to the newest published image."""
    peer = operator.peer
    shown = peer.stamp_ns / 10**9
    operator.click(*RED)
    operator.says('click: object 1 is added')
    assert operator.objects() == [1]
    operator.says(f'prompt of 1 at {shown}', '[[15.0, 15.0]], [1]')

    shown = peer.stamp_ns / 10**9
    operator.click(12, 12)
    operator.says('object 1 excludes this point')
    operator.click(22, 12)
    operator.says('object 1 includes this point')
    peer.track(IMAGE)
    operator.says(f'prompt of 1 at {shown}', '[[12.0, 12.0]], [0]')
    operator.says(f'prompt of 1 at {shown}', '[[22.0, 12.0]], [1]')


def test_clicks_after_a_pause(start, make_peer):
    node, peer = start('-p', 'click_window:=0.0'), make_peer()
    peer.meet(node, IMAGE)
    operator = Operator(node, peer)
    operator.click(*RED)
    operator.says('object 1 is added')
    assert operator.objects() == [1]
    operator.click(*GREEN, topic='overlay_mouse_left')
    operator.says('object 2 is added')
    assert operator.objects() == [1, 2]
    operator.click(*RED)
    operator.says('object 1 is selected')
    assert operator.objects() == [1, 2]


def test_click_modes(operator):
    """The service and the parameter change the same mode."""
    answer = operator.mode('new')
    assert (answer.success, answer.mode, answer.object_id) == (True, 'new', 0)
    operator.click(*RED)
    operator.click(*GREEN)
    operator.says('object 2 is added')
    assert operator.objects() == [1, 2]

    answer = operator.mode('exclude', object_id=1)
    assert (answer.success, answer.mode, answer.object_id) == (True, 'exclude', 1)
    operator.click(*BLUE)
    operator.says('object 1 excludes this point')
    peer = operator.peer
    message = Parameter('click_mode', value='include').to_parameter_msg()
    request = SetParameters.Request(parameters=[message])
    assert peer.call(SetParameters, 'set_parameters', request).results[0].successful
    assert operator.mode().mode == 'include'
    operator.click(*GROUND)
    operator.says('object 1 includes this point')
    assert operator.objects() == [1, 2]

    # Invalid requests are refused and change nothing.
    answer = operator.mode('paint', object_id=2)
    assert (answer.success, answer.mode, answer.object_id) == (False, 'include', 1)
    assert 'one of auto, new, include, exclude' in answer.message
    answer = operator.mode('new', object_id=9)
    assert (answer.success, answer.mode, answer.object_id) == (False, 'include', 1)
    assert 'no object 9; tracked objects: 1, 2' in answer.message


@pytest.mark.parametrize('how', ['remove', 'reset'])
def test_a_selection_ends_with_its_object(operator, how):
    peer = operator.peer
    operator.click(*RED)
    operator.says('object 1 is added')
    operator.objects()
    if how == 'remove':
        assert peer.call(RemoveObject, 'remove_object', RemoveObject.Request(object_id=1)).success
    else:
        assert peer.call(Trigger, 'reset', Trigger.Request()).success
        peer.track(IMAGE)
    operator.mode('include')
    operator.click(*RED)
    operator.says('none is selected')
    assert operator.objects() == []


def test_invalid_clicks(operator):
    """The reason is in the log and in diagnostics, and nothing is added."""
    for x, y, words in (
        (500, 10, 'point (500, 10) lies outside the image 80x60'),
        (float('nan'), 10, 'not finite'),
    ):
        operator.click(x, y)
        _, values = operator.peer.diagnostics(
            lambda _, values, words=words: words in values.get('last_refused_requests', '')
        )
        assert operator.objects() == []
    operator.says('click refused', 'point (500, 10) lies outside')


def test_a_click_before_the_first_image(start, make_peer):
    node, peer = start(), make_peer()
    operator = Operator(node, peer)
    operator.click(*RED)
    operator.says('click refused', 'no image has been tracked yet')
    peer.meet(node, IMAGE)
    assert operator.objects() == []


def test_clicked_points(start, make_peer):
    """Points in the frame of the camera are projected with CameraInfo."""
    node, peer = start('-r', 'clicked_point:=/clicked_point', '-p', 'click_mode:=new'), make_peer()
    peer.meet(node, IMAGE)
    operator = Operator(node, peer)
    operator.point(35, 15, 0)
    operator.says('clicked point: object 1 is added')
    operator.point(0, 0, 2)
    operator.says('clicked point refused', 'no camera info has arrived on /camera_info')

    operator.calibrate()
    shown = peer.stamp_ns / 10**9
    operator.point(0, 0, 2)
    operator.says('object 2 is added')
    operator.point(0.8, 0, 2)
    operator.says('object 3 is added')
    assert operator.objects() == [1, 2, 3]
    operator.says(f'prompt of 2 at {shown}', '[[15.0, 15.0]]')
    operator.says(f'prompt of 3 at {shown}', '[[55.0, 15.0]]')
    operator.point(0, 0, -2)
    operator.says('clicked point refused', 'not in front of the camera')
    assert operator.objects() == [1, 2, 3]


def test_points_of_another_frame_need_tf(start, make_peer):
    """The camera looks along the x axis of the robot, 1 m above the ground, and moves on."""
    node, peer = start('-r', 'clicked_point:=/clicked_point', '-p', 'click_mode:=new'), make_peer()
    peer.meet(node, IMAGE)
    operator = Operator(node, peer)
    operator.calibrate()
    peer.track(IMAGE)
    operator.point(2, 0, 1, 'map')
    try:
        import tf2_ros  # noqa: F401
        from tf2_msgs.msg import TFMessage
    except ImportError:
        operator.says('tf2_ros is not installed: points on /clicked_point must be')
        operator.says('clicked point refused', "'map' needs tf2_ros, which is not installed")
        return
    operator.says('clicked point refused', 'no transform from', 'map')

    def drive(x, stamp_ns):
        moved = TransformStamped(header=peer.header(stamp_ns, 'map'))
        moved.child_frame_id = 'camera_optical'
        moved.transform.translation.x, moved.transform.translation.z = x, 1.0
        turn = moved.transform.rotation
        turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
        operator.send('/tf', TFMessage(transforms=[moved]))

    shown = peer.stamp_ns
    drive(0.0, shown - 10**8)
    drive(0.0, shown)
    drive(1.5, shown + 10**9)
    time.sleep(1.1)
    # A point to the left of the robot is on the left in the image.
    operator.point(2, -0.4, 1, 'map')
    operator.says('object 1 is added')
    peer.track(IMAGE)
    operator.says(f'prompt of 1 at {shown / 10**9}', '35.0')
    operator.point(2, 0, 1, 'moon')
    operator.says('clicked point refused', 'moon')


def label_image(peer, encoding='mono8', size=SIZE, **places):
    """Return a label image with a 10x10 square for each value; the names are v1, v2..."""
    dtype = {'mono8': np.uint8, '16UC1': np.uint16}[encoding]
    pixels = np.zeros(size, dtype)
    for value, (x, y) in places.items():
        pixels[y : y + 10, x : x + 10] = int(value[1:])
    return array_to_image(pixels, encoding, peer.header(peer.stamp_ns))


@pytest.mark.parametrize('encoding', ['mono8', '16UC1'])
def test_a_mask_image_adds_an_object_for_each_value(operator, encoding):
    peer = operator.peer
    message = label_image(peer, encoding, v200=(30, 10), v7=(10, 10))
    shown = peer.stamp_ns / 10**9
    operator.send(f'{NODE}/mask_prompt', message)
    operator.says('object 1 is added (value 7)')
    operator.says('object 2 is added (value 200)')
    objects, _ = peer.track(IMAGE)
    assert [(item.id, item.box.x_offset) for item in objects.objects] == [(1, 10), (2, 30)]
    operator.says(f'prompt of 2 at {shown}')


def test_invalid_mask_images(operator):
    peer = operator.peer
    noise = array_to_image(
        np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE), '16UC1', peer.header(0)
    )
    soft = np.zeros(SIZE, np.uint8)
    for inset, value in enumerate((60, 120, 180, 240)):
        soft[20 + inset : 40 - inset, 20 + inset : 40 - inset] = value
    short = label_image(peer, v1=RED)
    short.height -= 1
    for message, words in (
        (label_image(peer), 'no pixel is above 0'),
        (noise, 'it has 4799 values, one for each object, more than max_objects, 16'),
        (array_to_image(soft, 'mono8', peer.header(0)), 'all but the highest are only along'),
        (array_to_image(IMAGE, 'rgb8', peer.header(0)), "cannot have the encoding 'rgb8'"),
        (label_image(peer, size=(30, 30), v1=(5, 5)), 'the mask is 30x30 but the image 80x60'),
        (short, 'is inconsistent'),
        (Image(encoding='mono8'), 'no pixel is above 0'),
    ):
        operator.send(f'{NODE}/mask_prompt', message)
        peer.diagnostics(
            lambda _, values, words=words: words in values.get('last_refused_requests', '')
        )
    assert operator.objects() == []


RED_BOX, BLUE_BOX = (10, 10, 20, 20), (50, 10, 60, 20)


class Detector:
    """Publishes boxes repeatedly, as detectors do."""

    def __init__(self, operator):
        self.vision = pytest.importorskip(
            'vision_msgs.msg', reason='vision_msgs is not installed here'
        )
        self.operator, self.peer = operator, operator.peer

    def send(self, *boxes, stamp_ns=None, label='mug', score=0.9):
        header = self.peer.header(stamp_ns or self.peer.stamp_ns)
        message = self.vision.Detection2DArray(header=header)
        for x0, y0, x1, y1 in boxes:
            found = self.vision.Detection2D(header=header)
            found.bbox.center.position.x = (x0 + x1) / 2
            found.bbox.center.position.y = (y0 + y1) / 2
            found.bbox.size_x, found.bbox.size_y = float(x1 - x0), float(y1 - y0)
            best = self.vision.ObjectHypothesisWithPose()
            best.hypothesis.class_id, best.hypothesis.score = label, score
            found.results.append(best)
            message.detections.append(found)
        self.operator.send(f'{NODE}/detections', message)

    def keep_sending(self, *boxes, until):
        """Send boxes and images until the log has a text."""

        def logged():
            self.send(*boxes)
            self.peer.track(IMAGE)
            return until in self.operator.node.log

        self.peer.wait(until, logged)


def test_detections(operator):
    detector, peer = Detector(operator), operator.peer
    detector.keep_sending(RED_BOX, until='~/detections: object 1 (mug) is added')
    objects, _ = peer.track(IMAGE)
    assert [(item.id, item.name) for item in objects.objects] == [(1, 'mug')]
    for _ in range(5):
        detector.send(RED_BOX)
        detector.send(BLUE_BOX, score=0.1)
        assert detector.operator.objects() == [1]
    detector.keep_sending(RED_BOX, BLUE_BOX, until='object 2 (mug) is added')
    assert detector.operator.objects() == [1, 2]
    detector.keep_sending((5, 5, 5, 9), until='1 of 1 are not used: the box is empty')
    # A message replaces one that still waits, so two in a row may count as one.
    old = peer.stamp_ns - 20 * 10**9
    peer.wait(
        'the refusal',
        lambda: (
            detector.send((30, 10, 40, 20), stamp_ns=old)
            or 's before the last image' in operator.node.log
        ),
    )
    peer.diagnostics(
        lambda _, values: 's before the last image' in values.get('last_refused_requests', '')
    )
    assert detector.operator.objects() == [1, 2]

    # While the node is inactive, detections are not refused.
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert peer.call(ChangeState, 'change_state', request).success
    _, values = peer.diagnostics(lambda _, values: 'last_refused_requests' in values)
    for ahead in range(5):
        detector.send((30, 30, 40, 40), stamp_ns=peer.stamp_ns + (5 + ahead) * 10**9)
    peer.received['diagnostics'].clear()
    _, after = peer.diagnostics(lambda _, values: 'last_refused_requests' in values)
    assert after['refused_requests'] == values['refused_requests']


def test_more_detections_than_objects(start, make_peer):
    """Logged once a minute, since the detector repeats it."""
    node, peer = start('-p', 'max_objects:=1'), make_peer()
    detector = Detector(Operator(node, peer))
    peer.meet(node, IMAGE)
    detector.keep_sending(RED_BOX, BLUE_BOX, until='object 1 (mug) is added')
    for _ in range(10):
        detector.keep_sending(RED_BOX, BLUE_BOX, until='1 objects are tracked, the limit')
    assert detector.operator.objects() == [1]
    assert node.log.count('the limit: raise max_objects') == 1
    peer.diagnostics(
        lambda _, values: 'raise max_objects' in values.get('last_refused_requests', '')
    )


def test_without_vision_msgs_a_message_is_logged(graph):
    try:
        import vision_msgs.msg  # noqa: F401
    except ImportError:
        assert 'vision_msgs is not installed: no subscription to ~/detections' in graph[0].log
    else:
        pytest.skip('vision_msgs is installed here')
