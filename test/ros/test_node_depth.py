# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Positions from depth: the node in its own process, with a simulated depth camera."""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import pytest
from fakes.colour_tracker import SIZE, picture
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_graph import NODE, add, click
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from tam_ros.msg import Prompt
from tam_ros.ros.conversions import array_to_image, stamp_ns
from tam_ros.spatial import CLOUD_TYPE

DEPTH = ('-r', 'depth:=/camera/depth', '-r', 'camera_info:=/camera/camera_info')
FOCAL = 100.0
IMAGE = picture(red=(10, 10), blue=(50, 30))


class DepthCamera:
    """A camera with a depth image for every image: 2 m, and 1 m at the red square."""

    def __init__(self, peer):
        self.peer = peer
        self.depth = peer.node.create_publisher(Image, '/camera/depth', 5)
        self.infos = peer.node.create_publisher(CameraInfo, '/camera/camera_info', 5)
        info = CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model='plumb_bob')
        info.k = [FOCAL, 0.0, 40.0, 0.0, FOCAL, 30.0, 0.0, 0.0, 1.0]
        self.info = info

    def values(self, size=SIZE):
        depth = np.full(size, 2000, np.uint16)
        depth[10:20, 10:20] = 1000
        return depth

    def send_depth(self, stamp_ns, **options):
        depth = self.values(**options)
        self.depth.publish(array_to_image(depth, '16UC1', self.peer.header(stamp_ns)))

    def track(self, image=IMAGE, **options):
        """Send depth and image; return the objects."""
        stamp = self.peer.stamp_ns + 33_000_000
        self.infos.publish(self.info)
        self.send_depth(stamp, **options)
        return {item.id: item for item in self.peer.track(image)[0].objects}

    def meet(self):
        """Send until the node uses depth and calibration."""

        def known():
            objects = self.track()
            return objects if objects[1].position_points else None

        return self.peer.wait('positions', known)


@pytest.fixture
def camera(start, make_peer):
    node, peer = start(*DEPTH), make_peer()
    peer.meet(node, IMAGE)
    for place in ((15, 15), (55, 35)):
        assert add(peer, click(*place, name='mug' if place[0] == 15 else '')).success
    return DepthCamera(peer)


def test_objects_have_positions(camera):
    """Without depth, everything else continues."""
    peer = camera.peer
    bare = peer.track(IMAGE)[0].objects
    assert [item.position_points for item in bare] == [0, 0]
    assert np.isnan(bare[0].position.x)

    objects = camera.meet()
    red, blue = objects[1], objects[2]
    # Pixels 10 to 19 at 1 m, 50 to 59 and 30 to 39 at 2 m; one pixel is removed at each edge.
    assert (red.position_points, blue.position_points) == (64, 64)
    assert (red.position.x, red.position.y, red.position.z) == pytest.approx((-0.255, -0.155, 1))
    assert (blue.position.x, blue.position.y, blue.position.z) == pytest.approx((0.29, 0.09, 2))
    assert (red.extent.x, red.extent.y, red.extent.z) == pytest.approx((0.07, 0.07, 0), abs=1e-6)
    assert red.position_covariance[0] == pytest.approx((64 - 1) / 12 * 1e-4, rel=1e-3)

    _, values = peer.diagnostics(lambda _, values: 'offset_ms_p95' in values)
    assert float(values['offset_ms_p95']) == 0


def test_results_wait_for_late_depth(camera):
    peer = camera.peer
    camera.meet()
    change = [
        Parameter('depth_wait', value=5.0).to_parameter_msg(),
        Parameter('depth_tolerance', value=0.005).to_parameter_msg(),
    ]
    request = SetParameters.Request(parameters=change)
    answers = peer.call(SetParameters, 'set_parameters', request).results
    assert all(item.successful for item in answers)

    camera.send_depth(peer.stamp_ns + 10_000_000)  # of the time before: the stream is alive
    stamp = peer.send(IMAGE)
    peer.message('labels', stamp)  # which are not held up by depth
    assert not any(stamp_ns(item.header) == stamp for item in peer.received['objects'])
    camera.send_depth(stamp)
    assert peer.message('objects', stamp).objects[0].position_points == 64


def test_wrong_depth_is_reported_and_tracking_continues(camera):
    peer = camera.peer
    camera.meet()
    objects = camera.track(size=(30, 40))
    assert objects[1].position_points == 0
    assert objects[1].area == 100
    peer.diagnostics(
        lambda _, values: 'depth has 40x30 pixels' in values.get('last_images_without_depth', '')
    )
    camera.meet()


def test_without_calibration_there_are_no_positions(start, make_peer):
    node, peer = start(*DEPTH), make_peer()
    peer.meet(node, IMAGE)
    add(peer, click(15, 15))
    camera = DepthCamera(peer)
    camera.info = CameraInfo()  # as drivers send that were never calibrated
    assert camera.track()[1].position_points == 0

    def reported(_, values):
        camera.track()
        return 'calibrated' in values.get('last_images_without_depth', '')

    peer.diagnostics(reported)


def test_markers_and_cloud(camera):
    peer = camera.peer
    camera.meet()
    peer.listen(MarkerArray, f'{NODE}/markers')
    peer.listen(PointCloud2, f'{NODE}/cloud')

    def received():
        camera.track()
        return peer.received['markers'] and peer.received['cloud']

    peer.wait('markers and a cloud', received)
    markers = peer.received['markers'][-1].markers
    assert {(item.ns, item.id) for item in markers} == {
        (space, number) for space in ('boxes', 'names') for number in (1, 2)
    }
    assert [item.text for item in markers if item.text] == ['1 mug\nvisible', '2\nvisible']
    assert all(item.header.frame_id == 'camera_optical' for item in markers)

    cloud = peer.received['cloud'][-1]
    assert cloud.header == peer.message('objects', stamp_ns(cloud.header)).header
    points = np.frombuffer(cloud.data, CLOUD_TYPE)
    red = points[points['label'] == 1]
    assert (len(points), len(red)) == (200, 100)
    assert set(red['z']) == {1.0}
    assert set(red['rgb'].view(np.uint32)) == {200 << 16 | 30 << 8 | 30}

    # The marker of an object that is not visible is deleted.
    camera.track(picture(blue=(50, 30)))
    gone = peer.wait(
        'a deleted marker',
        lambda: [
            item
            for message in peer.received['markers']
            for item in message.markers
            if item.action == Marker.DELETE
        ],
    )
    assert {item.id for item in gone} == {1}


def test_frames_of_objects(start, make_peer):
    tf2 = pytest.importorskip('tf2_msgs.msg', reason='tf2_msgs is not installed')
    node, peer = start(*DEPTH, '-p', 'publish_tf:=true'), make_peer()
    peer.meet(node, IMAGE)
    add(peer, click(15, 15))
    camera = DepthCamera(peer)
    peer.listen(tf2.TFMessage, '/tf')
    camera.meet()
    (frame,) = peer.wait('a transform', lambda: camera.track() and peer.received['tf'])[
        -1
    ].transforms
    assert frame.child_frame_id == 'track_node/object_1'
    assert frame.header.frame_id == 'camera_optical'
    assert frame.transform.translation.z == 1.0


def test_publish_tf_needs_tf2_msgs(start):
    try:
        import tf2_msgs  # noqa: F401
    except ImportError:
        node = start('-p', 'publish_tf:=true')
        assert node.process.wait(20) == 1
        assert 'tf2_msgs, which is not installed' in node.log
    else:
        pytest.skip('tf2_msgs is installed here')


# --- a recording ---

# As for the reference: whole labels, and depth between 0.2 and 1.5 m.
RECIPE = ('-p', 'depth_min:=0.2', '-p', 'depth_max:=1.5', '-p', 'depth_erosion:=0')
# Topics of the bag, and those they are played on.
TOPICS = {
    '/camera/color/image_raw': (Image, '/camera/image'),
    '/camera/color/camera_info': (CameraInfo, '/camera/camera_info'),
    '/camera/aligned_depth_to_color/image_raw': (Image, '/camera/depth'),
}


@pytest.fixture
def shelf(shared_data):
    """Messages by topic, labels and reference of each of the eight views of the bag."""
    folder = shared_data / 'rgbd' / 'apc_scene0000'
    reference = json.loads((folder / 'reference_3d.json').read_text())['labels']
    stamps = {}
    with AnyReader([shared_data / 'bags' / 'apc_scene0000_mcap']) as reader:
        for connection, _, data in reader.messages():
            if connection.topic in TOPICS:
                header = reader.deserialize(data, connection.msgtype).header
                stamps.setdefault(stamp_ns(header), {})[connection.topic] = bytes(data)
    numbers = json.loads((folder / 'camera.json').read_text())['frames']
    views = []
    for number, (stamp, messages) in zip(numbers, sorted(stamps.items()), strict=True):
        labels = cv2.imread(str(folder / 'fcn_labels' / f'{number:05d}.png'), cv2.IMREAD_UNCHANGED)
        truth = {
            label: one
            for label, entry in reference.items()
            for one in entry['frames']
            if one['frame'] == number
        }
        views.append((stamp, messages, labels, truth))
    return views


@pytest.mark.parametrize(
    ('tracker', 'exact'),
    [
        pytest.param({'STAND_IN': 'MaskTracker'}, True, id='the labels'),
        pytest.param(
            {'command': (sys.executable, '-m', 'tam_ros.ros.track_node')},
            False,  # its masks are of a lower resolution
            id='masks of the bundled model',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_positions_in_a_recorded_bag(start, make_peer, shelf, tracker, exact):
    """Each view is prompted with the masks of its labels; positions are within 5 mm."""
    start(*DEPTH, *RECIPE, **tracker)
    peer = make_peer()
    talkers = {
        topic: peer.node.create_publisher(kind, target, 5)
        for topic, (kind, target) in TOPICS.items()
    }
    for talker in talkers.values():
        peer.wait('the node', talker.get_subscription_count, timeout=60)
    peer.wait('its results', lambda: peer.node.count_publishers(f'{NODE}/objects'))
    ids, compared = {}, 0
    for stamp, messages, labels, truth in shelf:
        for label in truth:
            prompt = Prompt(
                object_id=ids.get(label, 0),
                action=Prompt.REPLACE if label in ids else Prompt.ADD,
                name=label,
                header=peer.header(stamp) if compared else Header(),  # before the first image
                mask=array_to_image((labels == int(label)).astype(np.uint8), 'mono8', Header()),
            )
            answer = add(peer, prompt)
            assert answer.success, answer.message
            ids[label] = answer.object_id
        for topic, data in messages.items():
            talkers[topic].publish(data)
        objects = peer.message('objects', stamp)
        assert objects.header.frame_id == 'camera_color_optical_frame'
        found = {item.name: item for item in objects.objects}
        for label, one in truth.items():
            position = found[label].position
            place = position.x, position.y, position.z
            assert place == pytest.approx(one['median_camera_m'], abs=0.005), (label, stamp)
            points = pytest.approx(one['points'], rel=0 if exact else 0.3)
            assert found[label].position_points == points
            compared += 1
    assert compared == 31
