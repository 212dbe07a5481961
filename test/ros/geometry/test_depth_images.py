# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The depth image of a tracked image: which one, how long to wait, when it is refused."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from tam_ros.ros.conversions import array_to_image
from tam_ros.ros.diagnostics.statistics import Statistics
from tam_ros.ros.geometry.depth_images import KEPT, DepthError, DepthImages, DepthViews
from tam_ros.ros.parameters import Parameters
from tam_ros.spatial import Camera, CameraError

MS = 1_000_000
SIZE = (20, 30)


class Node:
    """The part of a node that is used, with a number of publishers of depth."""

    def __init__(self, publishers=1):
        self.publishers = publishers

    def add_managed_entity(self, entity):
        self.images = entity
        entity.on_activate(None)

    def resolve_topic_name(self, name):
        return f'/camera/{name}'

    def get_namespace(self):
        return '/camera'

    def get_fully_qualified_name(self):
        return '/camera/track_node'

    def get_publishers_info_by_topic(self, topic):
        return []

    def create_timer(self, period_s, callback, clock):
        return object()

    def create_subscription(self, kind, topic, callback, qos, event_callbacks):
        self.kind, self.subscribed, self.receive = kind, topic, callback
        return object()

    def destroy_subscription(self, subscription):
        self.receive = None

    def destroy_timer(self, timer):
        pass

    def count_publishers(self, topic):
        assert topic == '/camera/depth'
        return self.publishers


def parameters(**changed):
    return SimpleNamespace(current=Parameters(**{'depth_erosion': 0, **changed}))


def header(ms, frame_id='optical'):
    seconds, ms = divmod(ms, 1000)
    return Header(stamp=Time(sec=seconds, nanosec=ms * MS), frame_id=frame_id)


def depth(ms, value=1500, size=SIZE, frame_id='optical'):
    return array_to_image(np.full(size, value, np.uint16), '16UC1', header(ms, frame_id))


def images(*stamps_ms):
    node = Node()
    images = DepthImages(node, parameters())
    for stamp in stamps_ms:
        node.receive(depth(stamp))
    return images, node


def found(images, ms, tolerance=0.02, timeout=0.0):
    stamp = images.find(ms * MS, tolerance, timeout).header.stamp
    return stamp.sec * 1000 + stamp.nanosec // MS


# Each row: stamps of depth images, that of an image, and which is taken, in milliseconds.
@pytest.mark.parametrize(
    ('stamps', 'image', 'taken'),
    [
        pytest.param([0, 33, 66], 33, 33, id='its own'),
        pytest.param([0, 33, 66], 40, 33, id='the previous one is nearest'),
        pytest.param([0, 33, 66], 60, 66, id='the next one is nearest'),
        pytest.param([16, 33], 33, 33, id='not the first within the tolerance'),
        pytest.param([13], 33, 13, id='just within the tolerance'),
    ],
)
def test_the_nearest_is_taken(stamps, image, taken):
    assert found(images(*stamps)[0], image) == taken


@pytest.mark.parametrize(
    ('stamps', 'image', 'words'),
    [
        pytest.param([], 33, 'no depth image has arrived on /camera/depth', id='none at all'),
        pytest.param([0], 33, '0.033 s older', id='only older ones'),
        pytest.param([66], 33, '0.033 s newer', id='only newer ones'),
        pytest.param([0, 66], 33, '0.033 s newer', id='a gap'),
    ],
)
def test_none_is_within_the_tolerance(stamps, image, words):
    with pytest.raises(DepthError, match=words):
        found(images(*stamps)[0], image)


def test_it_waits_for_an_image_that_has_not_arrived():
    """A fast tracker is done before the depth of its image has arrived."""
    kept, node = images(0)
    late = threading.Timer(0.1, lambda: node.receive(depth(33)))
    late.start()
    begin = time.monotonic()
    assert found(kept, 33, timeout=5.0) == 33
    assert 0.05 < time.monotonic() - begin < 2.0, 'no longer than needed'


def test_it_waits_for_a_nearer_one():
    """At 60 Hz the depth of the previous image is also within the tolerance."""
    kept, node = images(16)
    threading.Timer(0.05, lambda: node.receive(depth(33))).start()
    assert found(kept, 33, timeout=5.0) == 33


def test_the_timeout_ends():
    kept, _ = images(0)
    begin = time.monotonic()
    with pytest.raises(DepthError, match='older'):
        found(kept, 33, timeout=0.1)
    assert 0.09 < time.monotonic() - begin < 2.0


def test_it_does_not_wait_for_a_stream_that_ended(monkeypatch):
    monkeypatch.setattr('tam_ros.ros.geometry.depth_images._SILENT_S', 0.0)
    kept, _ = images(0)
    begin = time.monotonic()
    with pytest.raises(DepthError):
        found(kept, 33, timeout=10.0)
    assert time.monotonic() - begin < 5.0


def test_few_are_kept():
    kept, node = images(*range(0, 40 * 33, 33))
    with pytest.raises(DepthError):
        found(kept, 0)
    assert found(kept, 39 * 33) == 39 * 33
    assert sum(1 for _ in kept._kept) == 1, 'older ones are dropped'
    assert KEPT == 30


def test_large_ones_are_kept_within_a_budget(monkeypatch):
    monkeypatch.setattr('tam_ros.ros.geometry.depth_images.KEPT_BYTES', 5000)  # 4 of 20x30
    kept, node = images(*range(0, 8 * 33, 33))
    assert [stamp for stamp, _ in kept._kept] == [ms * MS for ms in (132, 165, 198, 231)]
    node.receive(depth(264, size=(60, 60)))
    assert [stamp for stamp, _ in kept._kept] == [264 * MS], 'the newest one is always kept'


def test_a_bag_that_loops():
    kept, node = images(1000, 1033, 1066)
    assert found(kept, 1033) == 1033
    node.receive(depth(0))
    node.receive(depth(33))
    assert found(kept, 33) == 33
    with pytest.raises(DepthError):
        found(kept, 1066)


def test_deactivated_it_is_unsubscribed_and_empty():
    kept, node = images(0)
    node.publishers = 0
    assert kept.available, 'it was published'
    kept.on_deactivate(None)
    assert node.receive is None
    assert not kept.available
    kept.on_activate(None)
    assert not kept.available
    node.publishers = 1
    assert kept.available


# --- views ---


class Calibration:
    """A camera, or the reason why there is none."""

    def __init__(self, error=None):
        self.error = error
        self.made = Camera(SIZE[1], SIZE[0], np.array([[20.0, 0, 15], [0, 20, 10], [0, 0, 1]]))

    def camera(self, height, width):
        if self.error:
            raise CameraError(self.error)
        return self.made


def views(*messages, error=None, publishers=1, **changed):
    node, statistics = Node(publishers), Statistics()
    made = DepthViews(node, parameters(**changed), Calibration(error), statistics)
    for message in messages:
        node.receive(message)
    return made, statistics


def test_a_view():
    made, statistics = views(depth(40))
    view = made.of(header(33), *SIZE)
    mask = np.zeros(SIZE, bool)
    mask[5:8, 5:9] = True
    location = view.locate(mask, (5, 5, 9, 8))
    assert location.points == 12
    assert location.position[2] == pytest.approx(1.5)
    summary = statistics.summary()
    assert summary.stages_ms['depth_offset'].max == pytest.approx(7.0), 'of the one that was used'
    assert 'images_without_depth' not in summary.counts


EVERYWHERE = (np.ones(SIZE, bool), (0, 0, 30, 20))


def test_parameters_reach_the_view():
    made, _ = views(depth(33), depth_max=1.2)
    assert made.of(header(33), *SIZE) is None
    made, _ = views(depth(33, value=3000), depth_unit=0.0001)
    location = made.of(header(33), *SIZE).locate(*EVERYWHERE)
    assert location.position[2] == pytest.approx(0.3)


def test_depth_of_another_frame_can_be_accepted():
    made, _ = views(depth(33, frame_id='camera_depth_frame'), depth_ignore_frame=True)
    assert made.of(header(33), *SIZE) is not None


def test_objects_without_a_position_are_counted():
    pixels = np.full(SIZE, 1500, np.uint16)
    pixels[:10] = 0  # nothing is measured there
    made, statistics = views(array_to_image(pixels, '16UC1', header(33)))
    view = made.of(header(33), *SIZE)
    mask = np.zeros(SIZE, bool)
    mask[:5] = True
    assert view.locate(mask, (0, 0, 30, 5)) is None
    assert view.locate(*EVERYWHERE) is not None
    summary = statistics.summary()
    assert (summary.counts['positions'], summary.counts['objects_without_position']) == (1, 1)
    assert 'depth_min 0.1 m' in summary.last['objects_without_position']


def in_float(value):
    pixels = np.full(SIZE, value, np.float32)
    return Image(
        header=header(33),
        height=SIZE[0],
        width=SIZE[1],
        step=4 * SIZE[1],
        encoding='32FC1',
        data=pixels.tobytes(),
    )


@pytest.mark.parametrize('image_format', ['16UC1; compressedDepth png', '16UC1; png compressed '])
def test_compressed_depth(image_format):
    _, png = cv2.imencode('.png', np.full(SIZE, 1500, np.uint16))
    data = bytes(12 if 'Depth' in image_format else 0) + png.tobytes()
    made, _ = views(CompressedImage(header=header(33), format=image_format, data=data))
    assert made.of(header(33), *SIZE).locate(*EVERYWHERE).position[2] == pytest.approx(1.5)


def test_the_transport_decides_what_is_subscribed_to():
    node = Node()
    kept = DepthImages(node, parameters(depth_transport='compressedDepth'))
    assert kept.topic == node.subscribed == '/camera/depth/compressedDepth'
    assert node.kind is CompressedImage


def test_no_depth_camera_is_no_problem():
    made, statistics = views(publishers=0)
    assert made.of(header(33), *SIZE) is None
    assert not statistics.summary().counts


# Each row: a depth message, another problem, and words of the message.
@pytest.mark.parametrize(
    ('message', 'error', 'words'),
    [
        pytest.param(depth(33), 'no camera info', 'no camera info', id='no calibration'),
        pytest.param(None, None, 'no depth image has arrived', id='a silent publisher'),
        pytest.param(depth(99), None, '0.066 s newer', id='another time'),
        pytest.param(
            depth(33, size=(10, 15)), None, '15x10 pixels, the image 30x20', id='another size'
        ),
        pytest.param(depth(33, frame_id='ir'), None, "in the frame 'ir'", id='another frame'),
        pytest.param(depth(33, value=0), None, 'nothing is measured', id='all zero'),
        pytest.param(
            in_float(4200),
            None,
            'to 4200: millimetres? 32FC1 must be metres (REP 118); set depth_unit to 0.001',
            id='millimetres in 32FC1',
        ),
        pytest.param(
            Image(header=header(33), height=20, width=30, encoding='rgb8', step=90),
            None,
            "depth cannot have the encoding 'rgb8'",
            id='a picture',
        ),
        pytest.param(
            Image(header=header(33), height=20, width=30, encoding='16UC1', step=60),
            None,
            'is inconsistent',
            id='no data',
        ),
    ],
)
def test_missing_or_wrong_depth_is_reported(message, error, words):
    made, statistics = views(*([message] if message else []), error=error)
    assert made.of(header(33), *SIZE) is None
    summary = statistics.summary()
    assert summary.counts['images_without_depth'] == 1
    assert words in summary.last['images_without_depth']
