# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts as messages, and what is recorded."""

import pytest

from tam_ros.interfaces import IMAGE_TOPIC, OBJECTS_TOPIC
from tam_ros.prompting.prompt_text import parse_prompts


@pytest.fixture
def messages(ros):
    from tam_ros.demo.recorder import group_prompts

    return lambda text: group_prompts(parse_prompts(text))


def test_prompts_of_one_object_and_frame_are_one_message(messages):
    ((frame, message),) = messages('4:point:10,20;30,40,0;4:box:1,2,50,60')
    assert (frame, message.object_id, message.action) == (0, 4, message.ADD)
    assert [(point.x, point.y) for point in message.points] == [(10, 20), (30, 40)]
    assert list(message.point_labels) == [1, 0]
    assert list(message.box) == [1, 2, 50, 60]


def test_the_first_prompt_of_an_object_adds_it_and_later_ones_refine(messages):
    grouped = messages('1:point:5,5@9;2:point:6,6;1:point:7,7@3;2:point:8,8,0@9')
    summary = [(frame, m.object_id, m.action == m.ADD) for frame, m in grouped]
    assert summary == [(0, 2, True), (3, 1, True), (9, 1, False), (9, 2, False)]


class FakeNode:
    """Keeps the callbacks of the subscriptions."""

    def __init__(self):
        self.callbacks = {}

    def create_subscription(self, kind, topic, callback, qos, raw):
        self.callbacks[topic] = callback

    def get_clock(self):
        from rclpy.clock import Clock

        return Clock()

    def receive(self, topic, kind, stamp_ns):
        from builtin_interfaces.msg import Time
        from rclpy.serialization import serialize_message
        from std_msgs.msg import Header

        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds))
        self.callbacks[topic](serialize_message(kind(header=header)))


class FakeBag:
    """Keeps what is written, up to `room` messages."""

    def __init__(self, room=100):
        self.room = room
        self.written = []

    def write_serialized(self, topic, type_name, stamp_ns, data):
        if len(self.written) == self.room:
            raise OSError('disk full')
        self.written.append((topic, type_name, stamp_ns))


@pytest.fixture
def record(messages):
    """Return a function that makes a recorder of a node, with prompts."""
    from tam_ros.demo.recorder import Recorder

    return lambda node, text='': Recorder(node, messages(text) if text else [])


def test_only_what_belongs_to_the_clip_is_recorded(record):
    from sensor_msgs.msg import Image

    from tam_ros.msg import TrackedObjectArray

    node, bag = FakeNode(), FakeBag()
    recorder = record(node)
    node.receive(IMAGE_TOPIC, Image, 4)
    recorder.open(bag)
    for stamp in (4, 5):  # before it is known when the clip begins
        node.receive(IMAGE_TOPIC, Image, stamp)
    assert recorder.played == 0
    recorder.start(from_ns=5)
    for stamp in (4, 6):
        node.receive(IMAGE_TOPIC, Image, stamp)
    node.receive(OBJECTS_TOPIC, TrackedObjectArray, 6)
    recorder.stop()
    node.receive(IMAGE_TOPIC, Image, 7)
    assert bag.written == [
        (IMAGE_TOPIC, 'sensor_msgs/msg/Image', 5),
        (IMAGE_TOPIC, 'sensor_msgs/msg/Image', 6),
        (OBJECTS_TOPIC, 'tam_ros/msg/TrackedObjectArray', 6),
    ]
    assert recorder.played == 2
    ((stamp, arrival),) = recorder.arrivals
    assert stamp == 6 and arrival > 6


def test_prompts_are_due_when_their_frame_is_received(record):
    from sensor_msgs.msg import Image

    node = FakeNode()
    recorder = record(node, '3:point:1,1@2;1:point:5,5@1;2:point:6,6@1')
    recorder.open(FakeBag())
    recorder.start(from_ns=10)
    node.receive(IMAGE_TOPIC, Image, 10)
    assert recorder.next_prompt(0) is None
    node.receive(IMAGE_TOPIC, Image, 11)
    due = [recorder.next_prompt(0) for _ in range(3)]
    assert [prompt and prompt.object_id for prompt in due] == [1, 2, None]
    assert due[0].header.stamp.nanosec == 11


def test_a_full_disk_ends_the_recording(record):
    from sensor_msgs.msg import Image

    node, bag = FakeNode(), FakeBag(room=1)
    recorder = record(node)
    recorder.open(bag)
    recorder.start(from_ns=0)
    for stamp in (1, 2, 3):
        node.receive(IMAGE_TOPIC, Image, stamp)
    assert len(bag.written) == 1
    with pytest.raises(OSError, match='disk full'):
        recorder.next_prompt(0)
    with pytest.raises(OSError, match='disk full'):
        recorder.stop()
