# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Who gets what: nothing is made for topics that nobody hears, everything for those who come."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')

from fake_tracker import ColourTracker  # noqa: E402
from rclpy.lifecycle import LifecycleNode  # noqa: E402
from ros_graph import NODE, SIZE, add, click, picture  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, PointCloud2  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from tam_ros.msg import TrackedObjectArray  # noqa: E402
from tam_ros.ros import outputs as module  # noqa: E402
from tam_ros.ros.calibration import Calibration  # noqa: E402
from tam_ros.ros.conversions import stamp_ns  # noqa: E402
from tam_ros.ros.declaration import declare  # noqa: E402
from tam_ros.ros.outputs import LATCHED_QOS, Outputs  # noqa: E402
from tam_ros.ros.statistics import Statistics  # noqa: E402
from tam_ros.spatial import Camera, DepthView, image_rays  # noqa: E402
from tam_ros.tracking import Prompt  # noqa: E402

IMAGE = picture(red=(10, 10))
HEADER = Header(frame_id='camera_optical')
# What makes each output; the first is used by two of them.
MAKERS = {
    'labels': 'labels_message',
    'objects': 'objects_message',
    'cloud': 'cloud_message',
    'overlay': 'draw_overlay',
    'labels/compressed': 'compressed_labels_message',
}
KINDS = {
    'labels': Image,
    'objects': TrackedObjectArray,
    'cloud': PointCloud2,
    'markers': MarkerArray,
    'overlay': Image,
    'labels/compressed': CompressedImage,
}


class Bench:
    """The outputs of a node in this process, with everything that is computed counted."""

    def __init__(self, ros, monkeypatch):
        self.made = []
        self.node = LifecycleNode('outputs_test')
        declare(self.node)
        self.statistics = Statistics()
        self.outputs = Outputs(self.node, Calibration(self.node), self.statistics)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.listener = ros.create_node('outputs_listener')
        for name in MAKERS.values():
            self.count(monkeypatch, module, name)
        for name in ('place', 'cloud'):
            self.count(monkeypatch, DepthView, name)
        camera = Camera(SIZE[1], SIZE[0], np.array([[50.0, 0, 40], [0, 50, 30], [0, 0, 1]]))
        view = DepthView(np.ones(SIZE, np.float32), image_rays(camera))

        def look(header, height, width):
            self.made.append('view')
            return view

        monkeypatch.setattr(self.outputs._views, 'of', look)
        self.tracker = ColourTracker()
        self.stamp = 0.0

    def count(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def counted(*args, **kwargs):
            self.made.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    def publish(self):
        """Publish an image with one object; return what was computed for it."""
        self.made.clear()
        self.stamp += 1.0
        prompts = [Prompt.points(1, [(15, 15)], [1])] if self.stamp == 1.0 else []
        frame = self.tracker.step(IMAGE, self.stamp, prompts)
        self.outputs.publish(frame, {1: 'mug'}, HEADER, IMAGE)
        return set(self.made)

    def publish_until(self, good):
        """Publish until what was computed for an image is `good`; return it.

        A publisher knows of its listeners a little later than the graph.
        """
        deadline = time.monotonic() + 10
        while not good(made := self.publish()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return made

    def subscribe(self, topic):
        """Listen, and wait until the node knows."""
        subscription = self.listener.create_subscription(
            KINDS[topic], f'/outputs_test/{topic}', lambda _: None, 5
        )
        self.until(topic, 1)
        return subscription

    def until(self, topic, count):
        deadline = time.monotonic() + 20
        while self.listeners(topic) != count:
            assert time.monotonic() < deadline, f'{count} listeners on {topic}'
            time.sleep(0.02)

    def listeners(self, topic):
        return self.node.count_subscribers(f'/outputs_test/{topic}')

    def close(self):
        self.listener.destroy_node()
        self.node.destroy_node()


@pytest.fixture
def bench(ros, monkeypatch):
    made = Bench(ros, monkeypatch)
    yield made
    made.close()


def test_nothing_is_made_for_nobody(bench):
    assert bench.publish() == set()
    assert set(bench.statistics.summary().stages_ms) <= {'label_info'}, 'which is latched'


@pytest.mark.parametrize(
    ('topic', 'made'),
    [
        ('labels', {'labels_message'}),
        ('labels/compressed', {'compressed_labels_message'}),
        ('overlay', {'draw_overlay'}),
        ('objects', {'objects_message', 'view', 'place'}),
        ('markers', {'view', 'place'}),
        ('cloud', {'cloud_message', 'view', 'cloud'}),
    ],
)
def test_outputs_begin_and_end_with_their_listeners(bench, topic, made):
    assert bench.publish() == set()
    subscription = bench.subscribe(topic)
    assert bench.publish_until(bool) == made
    assert topic in bench.statistics.summary().stages_ms
    bench.listener.destroy_subscription(subscription)
    bench.until(topic, 0)
    assert bench.publish_until(lambda computed: not computed) == set()


def test_places_are_found_once_for_all(bench):
    for topic in ('objects', 'markers', 'cloud'):
        bench.subscribe(topic)
    everything = {'objects_message', 'view', 'place', 'cloud', 'cloud_message'}
    assert bench.publish_until(lambda computed: computed == everything) == everything
    assert bench.made.count('place') == 1
    assert bench.made.count('view') == 1


# --- in the node's own process ---


def test_compressed_labels(graph):
    _, peer = graph
    assert add(peer, click(15, 15)).success
    peer.listen(CompressedImage, f'{NODE}/labels/compressed')
    peer.wait('a compressed label image', lambda: peer.send(IMAGE) and peer.received['compressed'])
    _, labels = peer.track(IMAGE)
    message = peer.message('compressed', stamp_ns(labels.header))
    assert message.header == labels.header
    assert message.format == 'mono8; png compressed '
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.tobytes() == labels.data.tobytes()


def test_standard_companions(graph):
    """Detections beside the objects, and what the labels mean for those who come later."""
    vision = pytest.importorskip('vision_msgs.msg', reason='vision_msgs is not installed')
    _, peer = graph
    assert add(peer, click(15, 15, name='mug')).success
    peer.listen(vision.Detection2DArray, f'{NODE}/detections_2d')
    peer.wait('detections', lambda: peer.send(IMAGE) and peer.received['detections_2d'])
    objects, _ = peer.track(IMAGE)
    message = peer.message('detections_2d', stamp_ns(objects.header))
    assert message.header == objects.header
    (detection,) = message.detections
    assert (detection.id, detection.results[0].hypothesis.class_id) == ('1', 'mug')
    assert (detection.bbox.center.position.x, detection.bbox.size_y) == (14.5, 10.0)

    def keep(message):
        peer.received['label_info'].append(message)

    peer.node.create_subscription(vision.LabelInfo, f'{NODE}/label_info', keep, LATCHED_QOS)
    info = peer.wait('the label info, said long before', lambda: peer.received['label_info'])[0]
    assert [(item.class_id, item.class_name) for item in info.class_map] == [
        (0, 'background'),
        (1, 'mug'),
    ]


def test_what_is_not_installed_is_said_once(graph):
    node, peer = graph
    try:
        import vision_msgs  # noqa: F401
    except ImportError:
        assert node.log.count('vision_msgs (no ~/detections_2d, no ~/label_info)') == 1
        return
    assert 'not installed: vision_msgs' not in node.log
    assert peer.node.count_publishers(f'{NODE}/detections_2d') == 1
