# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Messages that are longer than their type allows, as another sender can make them."""

from __future__ import annotations

import ctypes
import struct

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, PoseArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from tam_ros.msg import Prompt, TrackedObjectArray
from tam_ros.ros import bounded_messages
from tam_ros.ros.bounded_messages import Refused, bounded, bounded_service
from tam_ros.srv import AddPrompt, DetectOnce

LIMIT = 256


def longer_prompt(more):
    """Return the bytes of a prompt with `more` points than are allowed, which cannot be sent."""
    data = serialize_message(Prompt(points=[Point(x=1.0, y=2.0)] * LIMIT, name='mug'))
    words = range(4, len(data), 4)
    count = next(at for at in words if data[at : at + 4] == struct.pack('<I', LIMIT))
    # Numbers of 8 bytes are aligned to 8, counted from the end of the header of 4 bytes.
    first = 4 + -(-count // 8) * 8
    points = data[first : first + 24] * more
    number = struct.pack('<I', LIMIT + more)
    return data[:count] + number + data[count + 4 : first] + points + data[first:]


def receive(message_type, data):
    return deserialize_message(data, bounded(message_type))


@pytest.mark.parametrize(
    'message_type',
    [Prompt, AddPrompt.Request, DetectOnce.Request, Image, CameraInfo, TrackedObjectArray],
)
def test_sequences_are_found(message_type):
    assert bounded(message_type) is not message_type


def test_without_sequences_nothing_changes():
    assert bounded(Point) is Point
    assert bounded_service(Trigger).Request is Trigger.Request


def test_what_is_within_the_bounds_is_received():
    prompt = Prompt(points=[Point(x=1.0, y=2.0)] * LIMIT, name='mug', box=[1.0, 2.0, 3.0, 4.0])
    prompt.mask.data = bytes(1000)
    assert receive(Prompt, serialize_message(prompt)) == prompt


@pytest.mark.parametrize('more', [1, 200_000])
def test_more_than_the_bound_is_refused(more):
    data = longer_prompt(more)
    assert receive(Prompt, data) == Refused(f'{LIMIT + more} points; the limit is {LIMIT}')
    request = deserialize_message(data, bounded_service(AddPrompt).Request)
    assert request == Refused(f'{LIMIT + more} prompt.points; the limit is {LIMIT}')


def test_the_bound_is_not_checked_otherwise():
    """Otherwise `bounded` is not needed any more."""
    assert len(deserialize_message(longer_prompt(1), Prompt).points) == LIMIT + 1


def test_messages_within_messages_are_counted(monkeypatch):
    monkeypatch.setattr(bounded_messages, 'MAX_MESSAGES', 10)
    for outer, inner, what in ((2, 4, ''), (2, 5, 'values'), (11, 0, 'status')):
        status = DiagnosticStatus(values=[KeyValue(key='a', value='b')] * inner)
        message = DiagnosticArray(status=[status] * outer)
        received = receive(DiagnosticArray, serialize_message(message))
        refusal = Refused(f'too many {what}; the limit is 10 in all')
        assert received == (refusal if what else message)


def test_another_layout_is_noticed(monkeypatch):
    """A later rosidl may store messages in another way."""

    class Other(ctypes.Structure):
        _fields_ = (('size', ctypes.c_size_t), ('data', ctypes.c_void_p))

    caches = bounded_messages.bounded, bounded_messages._layout, bounded_messages._structure
    for one in caches:
        one.cache_clear()
    monkeypatch.setattr(bounded_messages, '_Sequence', Other)
    try:
        assert bounded(PoseArray) is PoseArray
    finally:
        for one in caches:
            one.cache_clear()
