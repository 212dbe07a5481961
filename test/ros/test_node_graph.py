# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node in its own process, over DDS: prompts, images, diagnostics."""

from __future__ import annotations

import platform
import time

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from fakes.colour_tracker import SIZE, picture
from ros_graph import add, click
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from tam_ros.io.encodings import image_to_mask
from tam_ros.msg import Prompt, TrackedObject
from tam_ros.ros.conversions import array_to_image, decode_mask, stamp_ns
from tam_ros.srv import RemoveObject

SECOND = 10**9


def test_a_service_prompt_is_tracked(graph):
    """From the click to labels and objects, which have exactly the header of the image."""
    _, peer = graph
    answer = add(peer, click(15, 15, name='mug'))
    assert (answer.success, answer.object_id, answer.message) == (True, 1, '')
    for step, (x, y) in enumerate(((10, 10), (14, 12), (30, 25))):
        objects, labels = peer.track(picture(red=(x, y)))
        header = peer.header(peer.stamp_ns)
        assert objects.header == header
        assert labels.header == header
        assert (labels.encoding, labels.height, labels.width) == ('mono8', *SIZE)
        expected = np.zeros(SIZE, np.uint8)
        expected[y : y + 10, x : x + 10] = 1
        pixels = np.frombuffer(labels.data, np.uint8).reshape(labels.height, labels.step)
        assert (pixels == expected).all()
        (tracked,) = objects.objects
        assert (objects.height, objects.width) == SIZE
        assert (tracked.id, tracked.name, tracked.state) == (1, 'mug', TrackedObject.VISIBLE)
        box = tracked.box
        assert (box.x_offset, box.y_offset, box.width, box.height) == (x, y, 10, 10)
        assert (tracked.centroid.x, tracked.centroid.y) == (x + 4.5, y + 4.5)
        assert tracked.area == 100
        assert tracked.age_frames == step
        assert tracked.age_seconds == pytest.approx(0.033 * step, abs=1e-6)
        assert not tracked.mask_png, 'masks are sent only when asked for'


def test_a_topic_prompt_is_tracked(graph):
    _, peer = graph
    peer.prompts.publish(Prompt(object_id=7, box=[38.0, 18.0, 52.0, 32.0]))
    image = picture(blue=(40, 20))
    peer.wait('the object', lambda: peer.track(image)[0].objects)
    objects, labels = peer.track(image)
    assert [item.id for item in objects.objects] == [7]
    assert sum(value == 7 for value in labels.data) == 100


def test_a_mask_prompt_has_the_stamp_of_its_image(graph):
    _, peer = graph
    image = picture(green=(60, 40))
    objects, _ = peer.track(image)
    mask = np.zeros(SIZE, np.uint8)
    mask[40:50, 60:70] = 255
    answer = add(
        peer, Prompt(header=objects.header, mask=array_to_image(mask, 'mono8', objects.header))
    )
    assert answer.success, answer.message
    objects, _ = peer.track(image)
    assert objects.objects[0].box.x_offset == 60


def test_masks_of_objects_are_lossless(start, make_peer):
    node, peer = start('-p', 'publish_masks:=true'), make_peer()
    peer.meet(node, picture())
    add(peer, click(12, 12))
    objects, labels = peer.track(picture(red=(10, 10), blue=(15, 15)))
    mask = decode_mask(objects.objects[0], *SIZE)
    assert mask.sum() == 75  # 10x10 less the 5x5 that the other square covers
    assert (mask == image_to_mask(labels)).all()


def test_an_object_out_of_sight_is_still_listed(graph):
    _, peer = graph
    add(peer, click(15, 15))
    peer.track(picture(red=(10, 10)))
    objects, labels = peer.track(picture())
    (hidden,) = objects.objects
    assert hidden.state == TrackedObject.OCCLUDED
    assert (hidden.area, hidden.box.width) == (0, 0)
    assert np.isnan(hidden.centroid.x)
    assert not any(labels.data)


def test_remove_and_reset(graph):
    _, peer = graph
    image = picture(red=(10, 10), blue=(40, 20))
    assert add(peer, click(15, 15)).object_id == 1
    assert add(peer, click(45, 25)).object_id == 2
    assert [item.id for item in peer.track(image)[0].objects] == [1, 2]

    removal = RemoveObject.Request(object_id=1)
    assert peer.call(RemoveObject, 'remove_object', removal).success
    objects, labels = peer.track(image)
    assert [item.id for item in objects.objects] == [2]
    assert set(labels.data) == {0, 2}
    again = peer.call(RemoveObject, 'remove_object', removal)
    assert (again.success, again.message) == (False, 'no object 1; tracked objects: 2')
    # An id is never given to another object, not even on request.
    reuse = add(peer, click(15, 15, object_id=1))
    assert not reuse.success
    assert 'removed' in reuse.message
    assert add(peer, click(15, 15)).object_id == 3

    peer.prompts.publish(Prompt(object_id=2, action=Prompt.REMOVE))
    peer.wait('removal by topic', lambda: [o.id for o in peer.track(image)[0].objects] == [3])

    assert peer.call(Trigger, 'reset', Trigger.Request()).success
    assert not peer.track(image)[0].objects
    assert add(peer, click(15, 15)).object_id == 1, 'ids start again after a reset'


def mask_of(width, height, value=1):
    return array_to_image(np.full((height, width), value, np.uint8), 'mono8', Header())


# Each row: an invalid prompt, and words of the answer.
REFUSED = [
    pytest.param(click(500, 10), 'outside the image', id='point out of the image'),
    pytest.param(click(float('nan'), 10), 'finite', id='not a number'),
    pytest.param(click(float('inf'), 10), 'finite', id='infinite'),
    pytest.param(Prompt(), 'empty', id='empty'),
    pytest.param(Prompt(box=[30.0, 10.0, 20.0, 40.0]), 'box', id='box corners swapped'),
    pytest.param(Prompt(box=[30.0, 10.0, 30.0, 40.0]), 'empty', id='box without width'),
    pytest.param(Prompt(box=[float('nan'), 1.0, 9.0, 9.0]), 'finite', id='box not a number'),
    pytest.param(Prompt(box=[90.0, 70.0, 99.0, 80.0]), 'outside the image', id='box outside'),
    pytest.param(Prompt(mask=mask_of(5, 5)), 'mask is 5x5', id='mask of another size'),
    pytest.param(Prompt(mask=mask_of(80, 60, 0)), 'empty', id='mask without a pixel'),
    pytest.param(
        click(5, 5, point_labels=[1, 0]), '1 points, but 2 point_labels', id='labels too many'
    ),
    pytest.param(
        click(5, 5, point_labels=[3]), '1 (on the object) or 0', id='label of another kind'
    ),
    pytest.param(click(5, 5, action=9), 'unknown action 9', id='unknown action'),
    pytest.param(click(5, 5, 9, Prompt.REFINE), 'no object 9', id='refine an unknown object'),
    pytest.param(click(5, 5, 9, Prompt.REPLACE), 'no object 9', id='replace an unknown object'),
    pytest.param(click(5, 5, 1), 'already tracked', id='add an object that is tracked'),
    pytest.param(
        Prompt(object_id=9, action=Prompt.REMOVE), 'no object 9', id='remove an unknown object'
    ),
]


def test_refused_prompts_have_a_reason_and_change_nothing(graph):
    """One node for all rows: after each of them the objects must be as before."""
    _, peer = graph
    assert add(peer, click(15, 15)).success
    image = picture(red=(10, 10))
    _, before = peer.track(image)
    for row in REFUSED:
        prompt, words = row.values
        answer = add(peer, prompt)
        assert not answer.success, row.id
        assert words in answer.message, f'{row.id}: {answer.message}'
        objects, labels = peer.track(image)
        assert [item.id for item in objects.objects] == [1], row.id
        assert labels.data == before.data, row.id


def test_more_objects_than_the_limit(start, make_peer):
    node, peer = start('-p', 'max_objects:=2'), make_peer()
    peer.meet(node, picture())
    image = picture(red=(10, 10), green=(30, 10), blue=(50, 10))
    assert add(peer, click(15, 15)).success
    assert add(peer, click(35, 15)).success
    assert '2 objects are tracked, the limit' in add(peer, click(55, 15)).message
    assert [item.id for item in peer.track(image)[0].objects] == [1, 2]
    peer.call(RemoveObject, 'remove_object', RemoveObject.Request(object_id=1))
    assert add(peer, click(55, 15)).object_id == 3, 'there is room again'


def test_a_refused_topic_prompt_is_in_log_and_diagnostics(graph):
    node, peer = graph
    peer.prompts.publish(click(500, 10))
    _, values = peer.diagnostics(lambda _, values: 'refused_requests' in values)
    assert 'outside the image' in values['last_refused_requests']
    peer.wait('the log', lambda: 'outside the image' in node.log)


def test_prompts_belong_to_an_image(graph):
    """Old stamps are refused with their age; prompts on future images wait for them."""
    _, peer = graph
    image = picture(red=(10, 10))
    peer.track(image)
    old = click(15, 15, header=peer.header(peer.stamp_ns - 3 * SECOND))
    answer = add(peer, old)
    assert not answer.success
    assert '3.000 s before the last' in answer.message
    clock = click(15, 15, header=peer.header(peer.stamp_ns + 50 * SECOND))
    assert '50.000 s newer than the newest image' in add(peer, clock).message

    due = peer.stamp_ns + 66_000_000
    answer = add(peer, click(15, 15, header=peer.header(due)))
    assert answer.success, answer.message
    assert not peer.track(image)[0].objects, 'this image is older than the prompt'
    assert peer.track(image, due)[0].objects[0].age_frames == 0


def test_prompts_before_the_first_image(start, make_peer):
    node, peer = start(), make_peer()
    stamped = add(peer, click(15, 15, header=peer.header(SECOND)))
    assert not stamped.success
    assert 'no image has arrived yet' in stamped.message
    assert add(peer, click(15, 15)).object_id == 1
    peer.meet(node, picture(red=(10, 10)))
    assert peer.track(picture(red=(10, 10)))[0].objects[0].area == 100


def bad_image(peer, **wrong):
    peer.stamp_ns += 33_000_000
    message = array_to_image(picture(), 'rgb8', peer.header(peer.stamp_ns))
    for name, value in wrong.items():
        setattr(message, name, value)
    peer.images.publish(message)


# Each row: fields inconsistent with the rest of the message, and words of the diagnostics.
BAD_IMAGES = [
    pytest.param({'encoding': 'nonsense'}, "unknown image encoding 'nonsense'", id='encoding'),
    pytest.param({'encoding': '32FC1'}, 'is for measurements', id='depth, not colour'),
    pytest.param({'step': 100}, 'step is 100 bytes', id='step shorter than a row'),
    pytest.param({'step': 2**31}, 'data is too short', id='step longer than the data'),
    pytest.param({'data': b'123'}, 'data is too short', id='data too short'),
    pytest.param({'height': 10}, 'data is too long', id='data too long'),
    pytest.param({'height': 0, 'width': 0}, 'is empty', id='no size'),
    pytest.param({'height': 2**31}, 'the limit is', id='enormous height'),
    pytest.param({'width': 20000, 'step': 60000}, 'the limit is', id='enormous width'),
]


@pytest.mark.slow
def test_invalid_images_are_refused_and_change_nothing(graph):
    _, peer = graph
    add(peer, click(15, 15))
    image = picture(red=(10, 10))
    _, before = peer.track(image)
    for row in BAD_IMAGES:
        wrong, words = row.values
        bad_image(peer, **wrong)
        _, values = peer.diagnostics(
            lambda _, values, words=words: words in values.get('last_refused_images', '')
        )
        objects, labels = peer.track(image)
        assert [item.id for item in objects.objects] == [1], row.id
        assert labels.data == before.data, row.id
    # The size changes in the middle of the stream: no object can be tracked across that.
    peer.send(picture((30, 30)))
    peer.diagnostics(lambda _, values: 'size changed' in values.get('last_refused_images', ''))
    assert peer.track(image)[1].data == before.data


def test_stamps_that_repeat_and_jump_back(graph):
    _, peer = graph
    add(peer, click(15, 15))
    image = picture(red=(10, 10))
    peer.track(image)
    still = peer.stamp_ns
    count = len(peer.received['objects'])
    peer.send(image, still)
    _, values = peer.diagnostics(lambda _, values: values.get('stale_images') == '1')
    assert 'the stamp of the previous one' in values['last_stale_images']
    peer.send(image, still - SECOND // 2)
    _, values = peer.diagnostics(lambda _, values: values.get('stale_images') == '2')
    assert '0.500 s older' in values['last_stale_images']
    assert len(peer.received['objects']) == count, 'nothing is published for a stale image'

    # A bag that loops: the object is still tracked and the stream continues.
    objects, _ = peer.track(image, still - 100 * SECOND)
    assert [item.area for item in objects.objects] == [100]
    objects, _ = peer.track(image, still - 99 * SECOND)
    assert [item.area for item in objects.objects] == [100]


def test_only_the_newest_image_is_tracked(start, make_peer):
    """With a tracker ten times slower than its camera, most images are dropped, not the last."""
    node, peer = start(COLOUR_TRACKER_DELAY='0.4'), make_peer()
    peer.meet(node, picture())
    known = len(peer.received['objects'])
    # Images of `meet` were also dropped.
    peer.received['diagnostics'].clear()
    dropped_before = int(peer.diagnostics(lambda *_: True)[1]['dropped'])
    sent = []
    for index in range(20):
        sent.append(peer.send(picture(red=(2 * index, 10))))
        time.sleep(0.04)
    peer.message('objects', sent[-1])
    tracked = [stamp_ns(item.header) for item in peer.received['objects'][known:]]
    assert tracked == sorted(tracked)
    assert 2 <= len(tracked) <= 10, 'about one in ten, more if the images came slowly'
    # Images that a busy machine replaced before they reached the node are not counted.
    peer.received['diagnostics'].clear()
    dropped = int(peer.diagnostics(lambda *_: True)[1]['dropped']) - dropped_before
    assert len(sent) // 3 <= dropped <= len(sent) - len(tracked)


def test_compressed_images(start, make_peer):
    node = start('-p', 'image_transport:=compressed')
    peer = make_peer(compressed=True)
    image = picture(red=(10, 10))

    def send(stamp):
        _, png = cv2.imencode('.png', image[..., ::-1])
        peer.images.publish(
            CompressedImage(header=peer.header(stamp), format='png', data=png.tobytes())
        )

    assert add(peer, click(15, 15)).success
    deadline = time.monotonic() + 30
    while not peer.received['objects'] and time.monotonic() < deadline:
        peer.stamp_ns += 33_000_000
        send(peer.stamp_ns)
        time.sleep(0.1)
    assert peer.received['objects'][-1].objects[0].area == 100, node.log


def test_the_overlay_is_drawn_for_subscribers(graph):
    _, peer = graph
    add(peer, click(15, 15))
    image = picture(red=(10, 10))
    peer.listen(Image, '/track_node/overlay')

    def overlay():
        peer.send(image)
        return peer.received['overlay']

    message = peer.wait('an overlay', overlay)[0]
    assert (message.encoding, message.height, message.width) == ('rgb8', *SIZE)
    drawn = np.frombuffer(message.data, np.uint8).reshape(*SIZE, 3)
    assert (drawn[12:18, 12:18] != image[12:18, 12:18]).any(), 'the mask is tinted'
    assert (drawn[50:, 60:] == image[50:, 60:]).all(), 'the rest is not'


def test_diagnostics_of_a_running_node(graph):
    _, peer = graph
    add(peer, click(15, 15))
    peer.track(picture(red=(10, 10)))
    status, values = peer.diagnostics(lambda _, values: 'object_1' in values)
    assert status.name == 'track_node: tracking'
    assert (values['object_1'], values['lifecycle']) == ('visible, 0.90', 'active')
    assert float(values['track_ms_p50']) > 0
    assert {'rate_hz', 'age_ms_p50', 'age_ms_p95', 'age_ms_max', 'frames'} <= set(values)
    status, values = peer.diagnostics(lambda _, values: 'model' in values)
    assert (status.name, status.hardware_id) == ('track_node: model', platform.node())
    assert values['device'] == 'cpu'
    assert (values['model'], values['runtime'], values['weights']) == (
        'colour',
        'none',
        'untrained',
    )
    assert values['precision'] == 'exact'
    assert float(values['process_mb']) > 10
    peer.diagnostics(lambda status, _: status.name == 'track_node: prompts')
    # Without further images, the time since the last one is reported.
    status, _ = peer.diagnostics(lambda status, _: 'no image for' in status.message)
    assert (status.name, status.level) == ('track_node: input', DiagnosticStatus.WARN)
    assert 'image_timeout 2' in status.message
