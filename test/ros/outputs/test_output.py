# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Outputs are computed for topics with subscribers only."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from fakes.colour_tracker import SIZE, ColourTracker, picture
from rclpy.lifecycle import LifecycleNode
from ros_graph import NODE, add, click
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from tam_ros.ros.conversions import stamp_ns
from tam_ros.ros.declaration import NodeParameters
from tam_ros.ros.diagnostics.statistics import Statistics
from tam_ros.ros.outputs.output import Publishers, TrackedImage
from tam_ros.ros.outputs.vision_msgs_outputs import LATCHED_QOS
from tam_ros.ros.track_node import OUTPUTS
from tam_ros.spatial import Camera, DepthView, image_rays
from tam_ros.tracking import Prompt

IMAGE = picture(red=(10, 10))
HEADER = Header(frame_id='camera_optical')
TYPES = {output.topic.removeprefix('~/'): output.message_type for output in OUTPUTS}
LATCHED = {'label_info'}  # may have later subscribers


class Bench:
    """The outputs of a node in this process; everything that they compute is recorded."""

    def __init__(self, ros, monkeypatch):
        self.made = []
        self.node = LifecycleNode('outputs_test')
        parameters = NodeParameters(self.node)
        self.statistics = Statistics()
        self.publishers = Publishers(self.node, parameters, self.statistics, OUTPUTS)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.listener = ros.create_node('outputs_listener')
        for output in OUTPUTS:
            if output.topic.removeprefix('~/') not in LATCHED:
                self.record(monkeypatch, output, 'message', output.topic.removeprefix('~/'))
        for name in ('locate', 'cloud'):
            self.record(monkeypatch, DepthView, name, f'DepthView.{name}')
        camera = Camera(SIZE[1], SIZE[0], np.array([[50.0, 0, 40], [0, 50, 30], [0, 0, 1]]))
        self.depth = DepthView(np.ones(SIZE, np.float32), image_rays(camera))
        self.tracker = ColourTracker()
        self.stamp = 0.0

    def record(self, monkeypatch, owner, name, what):
        real = getattr(owner, name)

        def recorded(*args, **kwargs):
            self.made.append(what)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    def find_depth(self):
        self.made.append('depth')
        return self.depth

    def publish(self):
        """Publish an image with one object; return what was computed for it."""
        self.made.clear()
        self.stamp += 1.0
        prompts = [Prompt.points(1, [(15, 15)], [1])] if self.stamp == 1.0 else []
        frame = self.tracker.step(IMAGE, self.stamp, prompts)
        self.publishers.publish(TrackedImage(frame, {1: 'mug'}, HEADER, IMAGE, self.find_depth))
        return set(self.made)

    def publish_until(self, good):
        """Publish until what was computed for an image is `good`; return it.

        A publisher learns of its subscribers a little later than the graph.
        """
        deadline = time.monotonic() + 10
        while not good(made := self.publish()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return made

    def subscribe(self, topic):
        """Subscribe, and wait until the node knows."""
        subscription = self.listener.create_subscription(
            TYPES[topic], f'/outputs_test/{topic}', lambda _: None, 5
        )
        self.until(topic, 1)
        return subscription

    def until(self, topic, count):
        deadline = time.monotonic() + 20
        while self.node.count_subscribers(f'/outputs_test/{topic}') != count:
            assert time.monotonic() < deadline, f'{count} subscribers of {topic}'
            time.sleep(0.02)

    def close(self):
        self.listener.destroy_node()
        self.node.destroy_node()


@pytest.fixture
def bench(ros, monkeypatch):
    made = Bench(ros, monkeypatch)
    yield made
    made.close()


def test_nothing_is_computed_without_subscribers(bench):
    assert bench.publish() == set()
    assert set(bench.statistics.summary().stages_ms) <= LATCHED


@pytest.mark.parametrize(
    ('topic', 'made'),
    [
        ('labels', {'labels'}),
        ('labels/compressed', {'labels/compressed'}),
        ('overlay', {'overlay'}),
        ('objects', {'objects', 'depth', 'DepthView.locate'}),
        ('markers', {'markers', 'depth', 'DepthView.locate'}),
        ('cloud', {'cloud', 'depth', 'DepthView.cloud'}),
    ],
)
def test_an_output_is_computed_while_it_has_a_subscriber(bench, topic, made):
    assert bench.publish() == set()
    subscription = bench.subscribe(topic)
    assert bench.publish_until(bool) == made
    assert topic in bench.statistics.summary().stages_ms
    bench.listener.destroy_subscription(subscription)
    bench.until(topic, 0)
    assert bench.publish_until(lambda computed: not computed) == set()


def test_positions_are_computed_once_for_all_outputs(bench):
    for topic in ('objects', 'markers', 'cloud'):
        bench.subscribe(topic)
    everything = {'objects', 'markers', 'cloud', 'depth', 'DepthView.locate', 'DepthView.cloud'}
    assert bench.publish_until(lambda computed: computed == everything) == everything
    assert bench.made.count('DepthView.locate') == 1
    assert bench.made.count('depth') == 1


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


def test_results_in_vision_msgs(graph):
    """Detections of the same objects, and label info for a late subscriber."""
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
    info = peer.wait('the latched label info', lambda: peer.received['label_info'])[0]
    assert [(item.class_id, item.class_name) for item in info.class_map] == [
        (0, 'background'),
        (1, 'mug'),
    ]


def test_a_package_that_is_not_installed_is_logged_once(graph):
    node, peer = graph
    try:
        import vision_msgs  # noqa: F401
    except ImportError:
        topics = '~/detections_2d, ~/label_info, ~/detections_3d'
        assert node.log.count(f'vision_msgs is not installed: {topics} are not published') == 1
        return
    assert 'vision_msgs is not installed' not in node.log
    for topic in ('detections_2d', 'detections_3d', 'label_info'):
        assert peer.node.count_publishers(f'{NODE}/{topic}') == 1
