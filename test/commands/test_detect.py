# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam detect` prints and draws what a detector finds, and refuses what it cannot use."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tam_ros.cli import main
from tam_ros.detection import Detections, Detector
from tam_ros.io.open_source import open_source
from tam_ros.io.video_writer import VideoWriter

HEIGHT, WIDTH = 120, 160


class Squares(Detector):
    """Finds bright squares; names them by their brightness."""

    name = 'squares'
    class_names = ('grey', 'white')
    info = {'device': 'none'}
    closed = 0
    asked = None

    def detect(self, image, tracked=None):
        masks = [image[..., 0] > 220, (image[..., 0] > 100) & (image[..., 0] < 160)]
        found = [(mask, kind) for mask, kind in zip(masks, (1, 0), strict=True) if mask.any()]
        if not found:
            return Detections.none(self.class_names, image.shape[:2])
        boxes = [
            [*np.argwhere(m).min(0)[::-1], *np.argwhere(m).max(0)[::-1] + 1] for m, _ in found
        ]
        return Detections(
            boxes,
            [0.9, 0.4][: len(found)],
            [kind for _, kind in found],
            self.class_names,
            np.stack([mask for mask, _ in found]),
        )

    def close(self):
        type(self).closed += 1


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    asked = {}

    def open_squares(name, weights=None, runtime='onnxruntime', **options):
        asked.update(name=name, weights=weights, **options)
        return Squares()

    monkeypatch.setattr(Squares, 'closed', 0)
    monkeypatch.setattr(Detector, 'open', staticmethod(open_squares))
    return asked


def picture(bright=True):
    rgb = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    if bright:
        rgb[20:60, 30:80] = 250
    rgb[70:100, 90:140] = 130
    return rgb


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), picture())
    return path


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'clip.mp4'
    with VideoWriter(path, 10.0) as writer:
        for index in range(6):
            writer.write(picture(bright=index != 2))
    return path


def test_an_image(image, tmp_path, capsys, opened):
    out = tmp_path / 'seen.png'
    assert main(['detect', str(image), '--overlay', str(out), '--classes', 'white, grey']) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[:4] == [
        'everything (none)',
        '1 grey, 1 white',
        '       score  box (x0, y0, x1, y1)',
        'white   0.90  30, 20, 80, 60',
    ]
    assert opened['name'] == 'everything' and opened['options'].classes == ('white', 'grey')
    assert opened['options'].min_score == 0.15 and Squares.closed == 1
    drawn = cv2.imread(str(out))[..., ::-1]
    before = picture()
    changed = (drawn != before).any(2)
    assert changed[30:50, 40:70].all() and changed[20, 30:80].all()
    assert not changed[105:].any() and not changed[:, :25].any()


def test_nothing_is_found(tmp_path, capsys):
    path = tmp_path / 'dark.png'
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    assert main(['detect', str(path), '--overlay', str(tmp_path / 'seen.jpg')]) == 0
    assert 'nothing was found' in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'seen.jpg')).shape == (8, 8, 3)


def test_a_recording(video, tmp_path, capsys, opened):
    out = tmp_path / 'seen.mp4'
    arguments = ['detect', str(video), '--model', 'yolact_resnet50', '--every', '2']
    assert main([*arguments, '--overlay', str(out)]) == 0
    text = capsys.readouterr().out
    assert opened['name'] == 'yolact_resnet50'
    assert 'frame 2: 1 grey\n' in text and 'frame 1:' not in text
    assert 'grey: 3 detections on 3 frames' in text and 'white: 2 detections' in text
    assert '3 frames, ' in text
    assert open_source(out).count_frames() == 3


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--overlay', 'seen.gif'], 'the name must end in one of .png'),
        (['--overlay', '{clip}'], 'exists; choose another name'),
        (['--overlay', 'none/seen.png'], 'none is not a folder'),
        (['--overlay', 'seen.png'], 'clip.mp4 has several frames; give NAME.mp4'),
        (['--min-score', '1'], 'min_score is 1'),
        (['--topic', '/camera'], 'is not a bag'),
    ],
)
def test_what_cannot_be_used(arguments, says, video, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [text.replace('{clip}', str(video)) for text in arguments]
    assert main(['detect', str(video), *given]) == 2
    assert says in capsys.readouterr().err
    assert Squares.closed == 0 and [path.name for path in tmp_path.iterdir()] == ['clip.mp4']


def test_a_class_that_the_detector_does_not_know(image, monkeypatch, capsys):
    def refuse(*_, **__):
        raise ValueError('yolact_resnet50 does not know cats; did you mean cat?')

    monkeypatch.setattr(Detector, 'open', staticmethod(refuse))
    assert main(['detect', str(image), '--classes', 'cats']) == 2
    assert 'does not know cats; did you mean cat?' in capsys.readouterr().err
