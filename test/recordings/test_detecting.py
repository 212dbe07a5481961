# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a detector finds in a recording is tracked, once each."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.commands import track
from tam_ros.demo.scene import DemoScene
from tam_ros.detection import Detections, Detector
from tam_ros.io.frame_folder import encode_frame
from tam_ros.io.frames import Frame, paced_header
from tam_ros.io.open_source import open_source
from tam_ros.prompting import mask_or_box as module
from tam_ros.prompting.mask_or_box import as_detections, mask_or_box
from tam_ros.prompting.session import Action, PromptRequest
from tam_ros.recordings import offline
from tam_ros.recordings.detecting import DetectedObjects, with_late_prompts
from tam_ros.tracking import Prompt, PromptError, Tracker, TrackerOptions

CUP, DOG = (20, 20, 60, 60), (90, 60, 140, 110)


class Scripted(Detector):
    """Finds a cup on every frame, and a dog from the third one on."""

    name = 'scripted'
    class_names = ('cup', 'dog')
    info = {}

    def __init__(self, masks=True):
        self.masks, self.asked, self.closed = masks, [], 0

    def detect(self, image, tracked=None):
        self.asked.append(list(tracked))
        boxes = [CUP, DOG] if image[85, 115, 0] > 200 else [CUP]
        masks = np.zeros((len(boxes), *image.shape[:2]), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        return Detections(
            boxes,
            [0.9, 0.8][: len(boxes)],
            [0, 1][: len(boxes)],
            self.class_names,
            masks if self.masks else None,
        )

    def close(self):
        self.closed += 1


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'frames'
    path.mkdir()
    for index in range(5):
        rgb = np.full((120, 160, 3), 60, np.uint8)
        rgb[20:60, 20:60] = (220, 40, 40)
        if index >= 2:
            rgb[60:110, 90:140] = (240, 240, 40)
        (path / f'{index:05}.png').write_bytes(encode_frame(rgb, '.png'))
    return path


@pytest.fixture
def tracker(tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    if not (catalogue.engines_dir() / 'efficienttam_nano').is_dir():
        pytest.skip('the weights of efficienttam_nano are not bundled yet')
    options = with_late_prompts(TrackerOptions())
    with Tracker.open('efficienttam_nano', threads=1, options=options) as opened:
        yield opened


@pytest.mark.parametrize('masks', [True, False])
def test_each_object_is_tracked_once(folder, tracker, masks):
    detector = Scripted(masks)
    found = DetectedObjects(detector, tracker, 16, every=2)
    results = [
        one.tracked for one in offline.track(tracker, open_source(folder), [], found.prompts)
    ]
    # From the frame after the one on which it was seen.
    assert [[item.id for item in one.objects] for one in results] == [[], [1], [1], [1, 2], [1, 2]]
    assert found.names == {1: 'cup', 2: 'dog'}
    assert found.report() == 'scripted found 1 cup, 1 dog'
    for item, wanted in zip(results[-1].objects, (CUP, DOG), strict=True):
        assert np.abs(np.subtract(item.box, wanted)).max() <= 4
    assert [len(boxes) for boxes in detector.asked] == [0, 1, 2]


class DemoClip:
    """The first frames of the demo's clip, and where its two known objects are."""

    name, count, rate_hz = 'demo', 16, 10.0

    def __init__(self):
        self.scene = DemoScene(7)

    def truth(self, index):
        labels = self.scene.frame(index)[1]
        return {number: labels == number for number in np.unique(labels[labels > 0]).tolist()}

    def __iter__(self):
        for index in range(self.count):
            header = paced_header(index, self.rate_hz)
            yield Frame(header.stamp, self.scene.frame(index)[0], header)


@pytest.mark.slow
def test_the_objects_of_the_demo_are_found_and_kept(tracker):
    """Everything mode finds more than the two, since it does not know what is meant."""
    clip = DemoClip()
    with Detector.open('everything', threads=1, points_per_side=8) as detector:
        found = DetectedObjects(detector, tracker, 16, every=30)
        results = list(offline.track(tracker, clip, [], found.prompts))
    tracks = {}
    for result in results[1:]:
        for number, mask in clip.truth(result.index).items():
            for item in result.tracked.objects:
                if (item.mask & mask).sum() > 0.6 * (item.mask | mask).sum():
                    tracks.setdefault(number, []).append(item.id)
    assert sorted(tracks) == [1, 2]
    for ids in tracks.values():
        assert len(set(ids)) == 1 and len(ids) >= 13


def test_prompted_objects_are_not_found_again(folder, tracker):
    found = DetectedObjects(Scripted(), tracker, 2, every=2)
    prompts = [offline.FramePrompt(0, Prompt.box(7, CUP), 'box')]
    results = list(offline.track(tracker, open_source(folder), prompts, found.prompts))
    assert [item.id for item in results[-1].tracked.objects] == [7, 8]


def test_there_is_room_for_so_many(folder, tracker):
    found = DetectedObjects(Scripted(), tracker, 1, every=2)
    results = list(offline.track(tracker, open_source(folder), [], found.prompts))
    assert len(results[-1].tracked.objects) == 1
    assert 'refused: 1 objects are tracked, which is the limit' in found.report()


def test_the_command(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    detector, asked = Scripted(), []
    monkeypatch.setattr(track, 'open_for_tracking', lambda o: asked.append(o) or detector)
    arguments = ['track', str(folder), '--detect', 'scripted', '--detect-every', '2']
    out = tmp_path / 'masks'
    assert main([*arguments, '--threads', '1', '--out', str(out)]) == 0
    assert 'scripted found 1 cup, 1 dog' in capsys.readouterr().out
    assert len(list(out.iterdir())) == 5 and detector.closed == 1
    assert asked[0].min_score == 0.3 and asked[0].detect == 'scripted'
    assert main([*arguments, '--both-ways', '--out', str(tmp_path / 'b')]) == 2
    assert 'cannot be combined' in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*arguments, '--out', str(tmp_path / 'c')]) == 2
    assert "no detector 'scripted'; there are everything" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('by_box', 'by_mask', 'kept'), [(0.9, 0.8, 'box'), (0.7, 0.8, 'mask'), (0.8, 0.8, 'box')]
)
def test_the_prompt_that_the_model_agrees_with(monkeypatch, by_box, by_mask, kept):
    class Model:
        def predict(self, box=None, mask=None, candidates=None):
            return SimpleNamespace(predicted_iou=[by_box if mask is None else by_mask])

    monkeypatch.setattr(module.Segmenter, 'on', lambda image: Model())
    mask = np.ones((10, 10), bool)
    request = PromptRequest(Action.ADD, box=(1, 1, 5, 5), mask=mask)
    chosen = mask_or_box(request, None)
    assert (chosen.box is not None, chosen.mask is not None) == (kept == 'box', kept == 'mask')
    empty = PromptRequest(Action.ADD, box=(1, 1, 5, 5), mask=np.zeros((10, 10), bool))
    assert mask_or_box(empty, None).mask is None
    boxed = PromptRequest(Action.ADD, box=(1, 1, 5, 5))
    assert mask_or_box(boxed, None) is boxed


def test_a_mask_of_another_size_is_left_to_the_box(monkeypatch):
    class Model:
        def predict(self, **_):
            raise PromptError('the mask is 10x10')

    monkeypatch.setattr(module.Segmenter, 'on', lambda image: Model())
    request = PromptRequest(Action.ADD, box=(1, 1, 5, 5), mask=np.ones((10, 10), bool))
    assert mask_or_box(request, None).mask is None


def test_detections_as_the_filter_takes_them():
    found = Detections([CUP], [0.5], [0], ('cup',), np.ones((1, 4, 4), bool))
    (one,) = as_detections(found)
    assert (one.box, one.label, one.score) == (CUP, 'cup', 0.5) and one.mask.all()
    (one,) = as_detections(Detections([CUP], [0.5], [0], ('cup',)))
    assert one.mask is None
