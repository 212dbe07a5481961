# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is subscribed to, and the words about what is on the graph; without ROS."""

from __future__ import annotations

import pytest

from tam_ros.ros.images.offers import Choice, Publisher, Wanted, choose, explain, several
from tam_ros.ros.images.transports import DEPTH, IMAGES, RAW

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
FFMPEG = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
VIDEO = 'foxglove_msgs/msg/CompressedVideo'
THEORA = 'theora_image_transport/msg/Packet'


def want(topic='/cam/image', transport='raw', reliability='auto'):
    return Wanted('image', topic, IMAGES[transport], IMAGES, 'image_transport', reliability)


def want_depth(topic='/depth', optional=True):
    return Wanted('depth', topic, RAW, DEPTH, 'depth_transport', 'auto', optional)


def graph(*offers):
    """Return a graph of (topic, type, reliable or node) rows."""
    made = {}
    for topic, message_type, *rest in offers:
        node = next((item for item in rest if isinstance(item, str)), '/driver')
        made.setdefault(topic, []).append(Publisher(node, message_type, True in rest))
    return made


@pytest.mark.parametrize(
    ('wanted', 'offers', 'choice'),
    [
        (want(), [], ('/cam/image', False)),
        (want(), [('/cam/image', IMAGE, True)], ('/cam/image', True)),
        (want(), [('/cam/image', IMAGE)], ('/cam/image', False)),
        (want(), [('/cam/image', IMAGE, True), ('/cam/image', IMAGE)], ('/cam/image', False)),
        (
            want(),
            [('/cam/image', IMAGE, True), ('/cam/image', COMPRESSED)],
            ('/cam/image', True),
        ),
        (want(reliability='reliable'), [('/cam/image', IMAGE)], ('/cam/image', True)),
        (want(reliability='best_effort'), [('/cam/image', IMAGE, True)], ('/cam/image', False)),
        # image_transport's users give the base name, drivers sometimes publish on it.
        (want(transport='compressed'), [], ('/cam/image/compressed', False)),
        (want('/c/compressed', 'compressed'), [], ('/c/compressed', False)),
        (
            want(transport='compressed'),
            [('/cam/image', IMAGE, True), ('/cam/image/compressed', COMPRESSED, True)],
            ('/cam/image/compressed', True),
        ),
        (
            want(transport='compressed'),
            [('/cam/image', COMPRESSED, True)],
            ('/cam/image', True),
        ),
    ],
)
def test_what_is_subscribed_to(wanted, offers, choice):
    assert choose(wanted, graph(*offers)) == Choice(*choice)


# Each row: what is wanted, what is on the graph, and all of the words.
@pytest.mark.parametrize(
    ('wanted', 'offers', 'words'),
    [
        pytest.param(
            want('/imge'),
            [('/camera/color/image_raw', IMAGE)],
            'nobody publishes /imge; images are on /camera/color/image_raw: start the node with '
            'image:=/camera/color/image_raw',
            id='mistyped',
        ),
        pytest.param(
            want('/front/image_raw'),
            [
                ('/front/depth/image_raw', IMAGE),
                ('/rear/image_raw', IMAGE),
                ('/front/image_rect', IMAGE),
                ('/left/image_raw', IMAGE),
                ('/other/track_node/labels', IMAGE),
            ],
            'nobody publishes /front/image_raw; images are on /front/image_rect, '
            '/left/image_raw, /rear/image_raw and 2 more topics: start the node with '
            'image:=/front/image_rect',
            id='several others',
        ),
        pytest.param(
            want('/imge'),
            [('/cam/image/compressed', COMPRESSED)],
            'nobody publishes /imge; images are on /cam/image/compressed: set image_transport: '
            'compressed and start the node with image:=/cam/image/compressed',
            id='mistyped, and only compressed',
        ),
        pytest.param(
            want('/imge'),
            [('/cam/depth/image_raw', IMAGE), ('/other/track_node/labels', IMAGE)],
            'nobody publishes /imge; no topic seems to carry the images of a camera, only '
            '/cam/depth/image_raw, /other/track_node/labels',
            id='only depth and results',
        ),
        pytest.param(
            want('/imge'),
            [('/chatter', 'std_msgs/msg/String')],
            'nobody publishes /imge; no topic carries images: is the camera running, with the '
            'ROS_DOMAIN_ID and the RMW_IMPLEMENTATION of this node?',
            id='no camera',
        ),
        pytest.param(
            want(),
            [('/cam/image', COMPRESSED)],
            f'/cam/image carries {COMPRESSED}: set image_transport: compressed',
            id='raw for compressed',
        ),
        pytest.param(
            want('/cam/image/compressed'),
            [('/cam/image', IMAGE), ('/cam/image/compressed', COMPRESSED)],
            f'/cam/image/compressed carries {COMPRESSED}: set image_transport: compressed',
            id='raw for a compressed name',
        ),
        pytest.param(
            want(),
            [('/cam/image/compressed', COMPRESSED)],
            f'nobody publishes /cam/image; /cam/image/compressed carries {COMPRESSED}: set '
            f'image_transport: compressed',
            id='raw where only compressed is there',
        ),
        pytest.param(
            want(transport='compressed'),
            [('/cam/image', IMAGE)],
            f'nobody publishes /cam/image/compressed; /cam/image carries {IMAGE}: set '
            f'image_transport: raw',
            id='compressed where only raw is there',
        ),
        pytest.param(
            want('/cam/image/compressed', 'compressed'),
            [('/cam/image', IMAGE)],
            f'nobody publishes /cam/image/compressed; /cam/image carries {IMAGE}: set '
            f'image_transport: raw and start the node with image:=/cam/image',
            id='the name of compressed where only raw is there',
        ),
        pytest.param(
            want(reliability='reliable'),
            [('/cam/image', IMAGE)],
            '/driver publishes /cam/image best effort, which is not received with '
            'qos_reliability: reliable: set qos_reliability: auto',
            id='reliable on a best-effort camera',
        ),
        pytest.param(
            want(),
            [('/cam/image', IMAGE, True)],
            '/driver publishes on /cam/image, but nothing arrives',
            id='a camera that sends nothing',
        ),
        pytest.param(
            want(),
            [('/cam/image', 'std_msgs/msg/String'), ('/b', IMAGE)],
            '/cam/image carries std_msgs/msg/String; images are on /b: start the node with '
            'image:=/b',
            id='a topic without images',
        ),
        pytest.param(
            want(),
            [('/cam/image/ffmpeg', FFMPEG)],
            f'nobody publishes /cam/image; /cam/image/ffmpeg carries {FFMPEG}: set '
            f'image_transport: ffmpeg',
            id='only video packets',
        ),
        pytest.param(
            want('/video'),
            [('/video', VIDEO)],
            f'/video carries {VIDEO}: set image_transport: foxglove',
            id='video packets under the name',
        ),
        pytest.param(
            want(),
            [('/cam/image/ffmpeg', FFMPEG), ('/cam/image/compressed', COMPRESSED)],
            f'nobody publishes /cam/image; /cam/image/compressed carries {COMPRESSED}: set '
            f'image_transport: compressed',
            id='pictures rather than packets',
        ),
        pytest.param(
            want(),
            [('/cam/image/theora', THEORA)],
            f'nobody publishes /cam/image; /cam/image/theora carries {THEORA} (video packets): '
            f'the node does not read this: use the raw topic, or make one with republish of '
            f'image_transport, in_transport theora',
            id='a transport that is not read',
        ),
        pytest.param(
            want('/depth/compressedDepth', 'compressed'),
            [('/depth/compressedDepth', COMPRESSED)],
            f'nobody publishes /depth/compressedDepth/compressed; /depth/compressedDepth carries '
            f'{COMPRESSED} (compressed depth): use the topic of the colour images',
            id='compressed depth as images',
        ),
        pytest.param(
            want('/depth/compressedDepth'),
            [('/depth/compressedDepth', COMPRESSED)],
            f'/depth/compressedDepth carries {COMPRESSED} (compressed depth): use the topic of '
            f'the colour images',
            id='compressed depth as raw images',
        ),
        pytest.param(
            want_depth(),
            [('/depth/compressedDepth', COMPRESSED)],
            f'nobody publishes /depth; /depth/compressedDepth carries {COMPRESSED}: set '
            f'depth_transport: compressedDepth',
            id='compressed depth beside the raw name',
        ),
        pytest.param(want_depth(), [('/c/depth', IMAGE)], '', id='depth is optional'),
        pytest.param(
            want_depth('/dpth', optional=False),
            [('/c/depth', IMAGE), ('/c/image', IMAGE)],
            'nobody publishes /dpth; depth images are on /c/depth: start the node with '
            'depth:=/c/depth',
            id='depth, mistyped',
        ),
    ],
)
def test_the_graph_is_explained(wanted, offers, words):
    offered = graph(*offers)
    assert explain(wanted, choose(wanted, offered), offered) == words


def test_all_images_may_be_lost():
    offered = graph(('/cam/image', IMAGE))
    words = explain(want(), choose(want(), offered), offered, 'use the profile')
    assert words == (
        '/driver publishes on /cam/image, but nothing arrives; if images are sent, they are lost '
        'in transport: use the profile'
    )


def test_publishers_that_are_mixed_are_named():
    one = graph(('/cam/image', IMAGE, '/a'), ('/cam/image', COMPRESSED, '/b'))
    assert several(want(), choose(want(), one), one) == ''
    two = graph(('/cam/image', IMAGE, '/a'), ('/cam/image', IMAGE, '/b'))
    assert several(want(), choose(want(), two), two) == (
        '2 publishers on /cam/image (/a, /b), whose images are mixed: only one may publish there'
    )
    again = graph(*[('/cam/image', IMAGE, '/a')] * 2)
    assert '(/a 2 times)' in several(want(), choose(want(), again), again)
    assert 'killed' in several(want(), choose(want(), again), again)
