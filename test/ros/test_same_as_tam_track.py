# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A recording gives the same results with `tam track` and with the node."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from geometry_msgs.msg import Point
from ros_graph import add
from rosbags.highlevel import AnyReader

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.demo.scene import DemoScene
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.frames import Header
from tam_ros.msg import Prompt

NODE = (sys.executable, '-m', 'tam_ros.ros.track_node')
MODEL = 'efficienttam_nano'
IMAGES = '/camera/image'
START_NS = 1_700_000_000_123_456_789
FRAMES = 8
LATE = 3  # the frame that the second object is prompted on


def stamp_of(index):
    """Slightly uneven stamps, as those of a camera."""
    return START_NS + index * 133_333_333 + 1_000_007 * (index % 3)


@pytest.fixture
def labelled(tmp_path):
    """A bag with the images of a clip and the results of `tam track`."""
    if not (catalogue.engines_dir() / MODEL).exists():
        pytest.skip(f'the weights of {MODEL} are not bundled yet')
    scene = DemoScene()
    with BagWriter(tmp_path / 'drive') as bag:
        for index in range(FRAMES):
            header = Header(stamp_of(index), 'camera_optical')
            # Recorded late and unevenly: only the stamps of the headers count.
            recorded_ns = header.stamp_ns + 50_000_000 + 7_000_000 * (index % 2)
            bag.write_image(IMAGES, header, scene.frame(4 * index)[0], recorded_ns)
    box, click = scene.prompts[0], scene.click_prompts[1]
    x0, y0, x1, y1 = box.box
    (x, y), *_ = click.points
    written = ['--prompt', f'1:box:{x0},{y0},{x1},{y1}', '--prompt', f'2:point:{x},{y}@{LATE}']
    out = tmp_path / 'labelled.mcap'
    arguments = ['track', str(tmp_path / 'drive'), *written, '--out', str(out), '--copy', 'all']
    assert main(arguments) == 0
    prompts = {
        0: Prompt(object_id=1, box=[float(edge) for edge in box.box]),
        LATE: Prompt(object_id=2, points=[Point(x=float(x), y=float(y))], point_labels=[1]),
    }
    return out, prompts


def test_the_node_gives_the_results_of_tam_track(labelled, start, make_peer):
    """The bag of `tam track` is played into the node, with prompts at the same stamps."""
    bag, prompts = labelled
    # The first images are some seconds before the recording, which is not a jump of the clock.
    parameters = ('-p', f'model:={MODEL}', '-p', 'resize:=pil', '-p', 'time_jump:=60.0')
    node = start(*parameters, command=NODE)
    peer = make_peer()
    # Before the recording, but within the time that a prompt may be ahead of the images.
    peer.stamp_ns = START_NS - 10**10
    peer.meet(node, DemoScene().frame(0)[0])
    peer.track(DemoScene().frame(0)[0], START_NS - 50_000_000)
    found = np.zeros(3, int)
    with AnyReader([bag]) as reader:
        written = {}
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp
            by_topic = written.setdefault(stamp.sec * 10**9 + stamp.nanosec, {})
            by_topic[connection.topic] = message, bytes(data)
    assert sorted(written) == [stamp_of(index) for index in range(FRAMES)]
    for index, (stamp_ns, messages) in enumerate(sorted(written.items())):
        if index in prompts:
            prompts[index].header = peer.header(stamp_ns)
            answer = add(peer, prompts[index])
            assert answer.success, answer.message
        peer.images.publish(messages[IMAGES][1])  # the very bytes of the bag
        objects, labels = (peer.message(key, stamp_ns) for key in ('objects', 'labels'))
        own, _ = messages['/track_node/labels']
        assert (labels.encoding, labels.height, labels.width) == (
            own.encoding,
            own.height,
            own.width,
        )
        np.testing.assert_array_equal(np.frombuffer(labels.data, np.uint8), own.data)
        found += np.bincount(own.data, minlength=3)
        own, _ = messages['/track_node/objects']
        assert [item.id for item in own.objects] == ([1] if index < LATE else [1, 2])
        for live, offline in zip(objects.objects, own.objects, strict=True):
            for name in ('id', 'state', 'area', 'age_frames'):
                assert getattr(live, name) == getattr(offline, name), (index, name)
            assert live.score == pytest.approx(offline.score, abs=1e-6)
            assert live.age_seconds == pytest.approx(offline.age_seconds, abs=1e-6)
            for name in ('x_offset', 'y_offset', 'width', 'height'):
                assert getattr(live.box, name) == getattr(offline.box, name)
    assert (found > 0).all(), 'the comparison must not be one of empty masks'
