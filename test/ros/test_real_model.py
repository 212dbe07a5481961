# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node with a real model gives the results of the tracker."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Point

from tam_ros import catalogue
from tam_ros.demo.scene import DemoScene
from tam_ros.evaluation.jaccard import region_similarity
from tam_ros.msg import Prompt
from tam_ros.srv import AddPrompt, Segment, SetClickMode
from tam_ros.tracking import Prompt as TrackerPrompt
from tam_ros.tracking import Tracker, TrackerOptions

NODE = (sys.executable, '-m', 'tam_ros.ros.track_node')
MODEL = 'efficienttam_nano'
AS_THE_NODE = TrackerOptions(resize='opencv')


def parameters(**values):
    return [part for name, value in values.items() for part in ('-p', f'{name}:={value}')]


def labels_of(message):
    pixels = np.frombuffer(message.data, np.uint8)
    return pixels.reshape(message.height, message.step)[:, : message.width]


def prompt_both(peer, scene):
    """Prompt the two objects of the clip for its next frame: a box, and a click."""
    (box, _), (_, click) = scene.prompts, scene.click_prompts
    for prompt in (
        Prompt(object_id=box.object_id, box=[float(edge) for edge in box.box]),
        Prompt(
            object_id=click.object_id,
            points=[Point(x=float(x), y=float(y)) for x, y in click.points],
            point_labels=click.labels,
        ),
    ):
        answer = peer.call(AddPrompt, 'add_prompt', AddPrompt.Request(prompt=prompt))
        assert answer.success, answer.message
    return box, click


@pytest.mark.slow
def test_the_node_gives_the_results_of_the_tracker(start, make_peer):
    """The same images and prompts, over DDS and directly, give the same labels and scores.

    The weights are untrained, so that this needs no file; whatever they make of the clip has to
    arrive.
    """
    pytest.importorskip('torch', reason='runs untrained weights, which needs torch')
    node = start(
        *parameters(model=MODEL, weights='untrained', runtime='torch', threads=2), command=NODE
    )
    scene, peer = DemoScene(), make_peer()
    peer.meet(node, scene.frame(0)[0])
    box, click = prompt_both(peer, scene)
    tracker = Tracker.open(MODEL, 'untrained', 'torch', threads=2, options=AS_THE_NODE)
    prompts = [
        TrackerPrompt.box(box.object_id, box.box),
        TrackerPrompt.points(click.object_id, click.points, click.labels),
    ]
    seen = 0
    for index in range(5):
        image, _ = scene.frame(4 * index)
        objects, labels = peer.track(image)
        frame = tracker.step(image, float(index), prompts if index == 0 else [])
        seen += np.count_nonzero(frame.labels)
        assert [item.id for item in objects.objects] == [1, 2]
        different = np.count_nonzero(labels_of(labels) != frame.labels)
        assert different <= 1e-3 * frame.labels.size
        for sent, own in zip(objects.objects, frame.objects, strict=True):
            assert sent.score == pytest.approx(own.score, abs=1e-3)
            assert sent.area == pytest.approx(own.area, rel=0.01, abs=20)
            assert sent.age_frames == index
    assert seen, 'the comparison must not be one of empty masks'


def test_the_bundled_model_tracks_the_drawn_clip(start, make_peer):
    folder = catalogue.engines_dir() / MODEL
    if not folder.exists():
        pytest.skip(f'the weights of {MODEL} are not bundled yet')
    node = start(*parameters(model=MODEL), command=NODE)
    scene, peer = DemoScene(), make_peer()
    peer.meet(node, scene.frame(0)[0])
    prompt_both(peer, scene)
    _, first = scene.frame(0)
    tracked, left_in_place = [], []
    for index in range(0, 48, 2):
        image, truth = scene.frame(index)
        _, labels = peer.track(image)
        for label in (1, 2):
            tracked.append(region_similarity(truth == label, labels_of(labels) == label))
            left_in_place.append(region_similarity(truth == label, first == label))
    assert np.mean(tracked) > np.mean(left_in_place) + 0.2


def test_a_prompt_made_on_a_past_image_is_applied_to_it(start, make_peer):
    """Six images late; from the next image the labels are those of a prompt in time."""
    if not (catalogue.engines_dir() / MODEL).exists():
        pytest.skip(f'the weights of {MODEL} are not bundled yet')
    node = start(*parameters(model=MODEL, catch_up=8), command=NODE)
    scene, peer = DemoScene(), make_peer()
    peer.meet(node, scene.frame(0)[0])
    images = [scene.frame(2 * index)[0] for index in range(12)]
    rows, columns = np.nonzero(scene.frame(4)[1] == 1)
    box = [float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    tracker = Tracker.open(MODEL, options=AS_THE_NODE)
    stamps = []
    for index, image in enumerate(images):
        if index == 8:
            prompt = Prompt(header=peer.header(stamps[2]), box=box)
            answer = peer.call(AddPrompt, 'add_prompt', AddPrompt.Request(prompt=prompt))
            assert answer.success, answer.message
        objects, labels = peer.track(image)
        stamps.append(peer.stamp_ns)
        frame = tracker.step(
            image, float(index), [TrackerPrompt.box(1, box)] if index == 2 else []
        )
        assert [item.age_frames for item in objects.objects] == ([index - 2] if index > 7 else [])
        if index > 7:
            ours = labels_of(labels)
            assert np.count_nonzero(ours) > 100
            assert region_similarity(frame.labels > 0, ours > 0) >= 0.99


def test_a_click_belongs_to_the_published_image(start, make_peer):
    """The clip continues between the image and the click; a second click corrects the first."""
    if not (catalogue.engines_dir() / MODEL).exists():
        pytest.skip(f'the weights of {MODEL} are not bundled yet')
    node = start(*parameters(model=MODEL, click_mode='include'), command=NODE)
    scene, peer = DemoScene(), make_peer()
    peer.meet(node, scene.frame(0)[0])
    clicks = peer.node.create_publisher(Point, '/track_node/click', 5)
    peer.wait('the subscription of the node', clicks.get_subscription_count)
    peer.call(SetClickMode, 'set_click_mode', SetClickMode.Request(mode='new'))

    def click_on(index, text):
        """Click on the middle of the object in an image."""
        rows, columns = np.nonzero(scene.frame(index)[1] == 1)
        clicks.publish(Point(x=float(columns.mean()), y=float(rows.mean())))
        peer.wait(text, lambda: text in node.log)

    shown = 4
    peer.track(scene.frame(shown)[0])
    click_on(shown, 'object 1 is added')
    for step, index in enumerate((8, 12, 16, 20), start=1):
        image, truth = scene.frame(index)
        objects, labels = peer.track(image)
        (item,) = objects.objects
        assert item.age_frames == step, 'it began on the image that was clicked'
        assert region_similarity(truth == 1, labels_of(labels) == 1) > 0.5
        if index == 12:
            peer.call(SetClickMode, 'set_click_mode', SetClickMode.Request(mode='include'))
            click_on(index, 'object 1 includes this point')
    assert 'refused' not in node.log


@pytest.mark.slow
def test_a_preview_is_the_mask_that_the_object_begins_with(start, make_peer):
    """Prompted with the stamp of the preview, it is replayed from that image."""
    if not (catalogue.engines_dir() / MODEL).exists():
        pytest.skip(f'the weights of {MODEL} are not bundled yet')
    node = start(*parameters(model=MODEL, threads=1), command=NODE)
    scene, peer = DemoScene(), make_peer()
    image = cv2.resize(scene.frame(0)[0], (384, 384))
    peer.meet(node, image)
    click = next(prompt for prompt in scene.click_prompts if prompt.object_id == 1)
    scale = 384 / np.array(scene.frame(0)[1].shape[::-1])
    points = [Point(x=float(x), y=float(y)) for x, y in np.multiply(click.points, scale)]
    prompt = Prompt(points=points, point_labels=click.labels)
    preview = peer.call(Segment, 'segment', Segment.Request(prompt=prompt))
    assert preview.success, preview.message
    mask = labels_of(preview.mask) > 0
    prompt.header = preview.header
    assert peer.call(AddPrompt, 'add_prompt', AddPrompt.Request(prompt=prompt)).success
    objects, labels = peer.track(image)
    assert [item.id for item in objects.objects] == [1]
    truth = cv2.resize((scene.frame(0)[1] == 1).astype(np.uint8), (384, 384)) > 0
    assert region_similarity(mask, truth) > 0.7
    # Tracked into one more image, which is the same.
    assert region_similarity(mask, labels_of(labels) == 1) > 0.9
    assert preview.predicted_iou > 0.5 and 0.5 < preview.stability <= 1
