# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A subscription that follows its publishers, over DDS."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest

from tam_ros.ros.images.offers import Wanted
from tam_ros.ros.images.transports import COMPRESSED, IMAGES, RAW, Transport

TOPIC = '/watched/image'


@pytest.fixture
def bench(ros):
    """A node with a subscription, and a node with cameras."""
    bench = Bench()
    yield bench
    bench.close()


class Bench:
    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.node = rclpy.create_node('watcher', namespace='watched')
        self.driver = rclpy.create_node('driver', namespace='watched')
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.driver):
            self.executor.add_node(node)
        self.received = []

    def subscribe(self, transport=RAW, topic=TOPIC):
        from tam_ros.ros.images.subscription import ImageSubscription

        wanted = Wanted('image', topic, transport, IMAGES, 'image_transport', 'auto')
        self.images = ImageSubscription(
            self.node, wanted, self.received.append, depth=1, timeout_s=lambda: 0.5
        )

    def camera(self, reliable, topic=TOPIC, kind=None):
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image

        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5, reliability=policy)
        return self.driver.create_publisher(kind or Image, topic, qos)

    def wait(self, condition, timeout=20.0):
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, (self.images.problem, self.images.topic)
            self.executor.spin_once(0.05)

    def is_heard(self, camera, message):
        """Return whether an image arrives that is sent now."""
        self.received.clear()
        camera.publish(message)
        self.executor.spin_once(0.05)
        return bool(self.received)

    def is_reliable(self):
        """Return whether the subscription is reliable, as others see it; None: there is none."""
        from rclpy.qos import ReliabilityPolicy

        found = self.driver.get_subscriptions_info_by_topic(self.images.topic)
        kinds = {info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in found}
        return kinds.pop() if len(kinds) == 1 else None

    def close(self):
        self.images.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.driver.destroy_node()


def test_it_is_reliable_while_every_camera_is(bench):
    from sensor_msgs.msg import Image

    bench.subscribe()
    first = bench.camera(reliable=True)
    bench.wait(lambda: bench.is_reliable() is True)
    bench.wait(lambda: bench.is_heard(first, Image()))
    second = bench.camera(reliable=False)
    bench.wait(lambda: bench.is_reliable() is False)
    bench.wait(lambda: bench.is_heard(second, Image()))
    assert '2 publishers on /watched/image (/watched/driver 2 times)' in bench.images.problem
    bench.driver.destroy_publisher(second)
    bench.wait(lambda: bench.is_reliable() is True)
    bench.wait(lambda: not bench.images.problem)
    # Until it returns, nobody knows how.
    bench.driver.destroy_publisher(first)
    bench.wait(lambda: 'nobody publishes /watched/image' in bench.images.problem)
    assert bench.is_reliable() is True
    third = bench.camera(reliable=False)
    bench.wait(lambda: bench.is_heard(third, Image()))


def encode(av, key_every):
    """Return 30 packets of a video whose grey value rises by 8 from picture to picture."""
    context = av.CodecContext.create('libx264', 'w')
    context.width, context.height, context.pix_fmt = 96, 64, 'yuv420p'
    context.time_base, context.options = (
        Fraction(1, 30),
        {'tune': 'zerolatency', 'g': str(key_every)},
    )
    packets = []
    for index in range(30):
        frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 8 * index, np.uint8), 'rgb24')
        frame.pts = index
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets


def test_every_packet_of_a_video_is_decoded(bench):
    """Packets in a message that has their fields; those of video packets are not installed."""
    av = pytest.importorskip('av')
    from sensor_msgs.msg import Image

    packets = encode(av, key_every=50)
    video = Transport('packets', 'sensor_msgs/msg/Image', '', 'video packets', is_video=True)
    bench.subscribe(transport=video)
    camera = bench.driver.create_publisher(Image, TOPIC, 40)
    bench.wait(lambda: bench.is_reliable() is True and camera.get_subscription_count())
    for index, data in enumerate(packets):
        message = Image(encoding='libx264', data=data)
        message.header.stamp.sec = index
        camera.publish(message)
    bench.wait(lambda: len(bench.received) == 30)
    assert [image.header.stamp.sec for image in bench.received] == list(range(30))
    assert abs(int(bench.received[20].data[0]) - 160) < 6


def test_video_packets_in_compressed_images_are_decoded(bench):
    av = pytest.importorskip('av')
    from sensor_msgs.msg import CompressedImage

    packets = encode(av, key_every=5)
    bench.subscribe(COMPRESSED)
    camera = bench.camera(True, f'{TOPIC}/compressed', CompressedImage)
    sent = itertools.count()

    def is_decoded():
        camera.publish(CompressedImage(format='h264', data=packets[next(sent) % len(packets)]))
        bench.executor.spin_once(0.05)
        return len(bench.received) > 3

    bench.wait(is_decoded)
    assert (bench.received[-1].height, bench.received[-1].width) == (64, 96)


def test_compressed_images_are_found_under_both_names(bench):
    from sensor_msgs.msg import CompressedImage

    raw = bench.camera(reliable=True)
    bench.subscribe(COMPRESSED)
    assert bench.images.topic == f'{TOPIC}/compressed'
    bench.wait(lambda: 'set image_transport: raw' in bench.images.problem)
    bench.driver.destroy_publisher(raw)
    camera = bench.camera(True, kind=CompressedImage)
    bench.wait(lambda: bench.is_heard(camera, CompressedImage()))
    assert bench.images.topic == TOPIC
    usual = bench.camera(True, f'{TOPIC}/compressed', CompressedImage)
    bench.wait(lambda: bench.is_heard(usual, CompressedImage()))
    assert bench.images.topic == f'{TOPIC}/compressed'
    assert isinstance(bench.received[0], CompressedImage)
