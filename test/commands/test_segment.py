# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam segment`: prompts or everything in one image, and its outputs."""

from __future__ import annotations

import json
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image

from tam_ros.cli import main
from tam_ros.demo.scene import DemoScene
from tam_ros.io.mask_files import read_masks


@pytest.fixture
def segment(tam_fake):
    """Return a function that runs `tam segment` with the fake model and returns its status."""
    return partial(tam_fake, 'segment')


@pytest.fixture
def image(tmp_path, pictures):
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), pictures[0][..., ::-1])
    return path


def test_prompts(segment, image, tmp_path, capsys, opened):
    labels, overlay = tmp_path / 'labels.png', tmp_path / 'overlay.jpg'
    prompts = '3:point:50,60', '1:box:100,20,140,60'
    arguments = [argument for prompt in prompts for argument in ('--prompt', prompt)]
    assert segment(image, *arguments, '--out', labels, '--overlay', overlay) == 0
    masks = read_masks(labels)
    assert sorted(masks) == [1, 3]
    assert masks[3][60, 50] and masks[3].shape == (120, 160)
    assert Image.open(labels).mode == 'P'
    drawn = cv2.imread(str(overlay))[..., ::-1]
    assert drawn.shape == (120, 160, 3)
    printed = capsys.readouterr().out
    assert 'run by fake' in printed and f'written: {labels}' in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith('   ')]
    assert [row[:2] for row in rows] == [['1', '0.90'], ['3', '0.30']]
    assert opened[0].closed == 1
    assert [name for name, _ in opened[0].calls].count('image_encoder') == 1


def test_prompts_of_one_object_are_merged(segment, image, opened):
    assert segment(image, '--prompt', '1:point:50,60', '--prompt', '1:point:20,20,0') == 0
    labels = opened[0].prompts[-1].labels[0].tolist()
    assert labels[:2] == [1, 0] and len(opened[0].prompts) == 1


def test_annotations_have_the_complete_masks(segment, image, tmp_path):
    pytest.importorskip('pycocotools')
    from pycocotools.coco import COCO

    out = tmp_path / 'found.json'
    assert segment(image, '--prompt', '2:point:50,60', '--out', out) == 0
    coco = COCO(out)
    (entry,) = json.loads(out.read_text())['annotations']
    mask = coco.annToMask(entry)
    assert mask[60, 50] and mask.sum() == entry['area']
    assert entry['track_id'] == 2 and entry['score'] == pytest.approx(0.3)
    assert coco.imgs[1]['file_name'] == 'picture.png'


def test_everything(segment, image, tmp_path, capsys, opened):
    out = tmp_path / 'labels.png'
    limits = '--min-iou', 0.25, '--min-stability', 0.1
    assert segment(image, '--grid', 3, *limits, '--out', out) == 0
    found = read_masks(out)
    assert sorted(found) == list(range(1, len(found) + 1)) and len(found) > 3
    assert opened[0].calls[-1] == ('mask_decoder', 9)
    assert segment(image, '--grid', 3, '--min-iou', 0.95) == 0
    assert 'nothing was found' in capsys.readouterr().out


def test_a_frame_of_a_recording(segment, video, tmp_path):
    pytest.importorskip('pycocotools')
    out = tmp_path / 'found.json'
    assert segment(video, '--frame', 5, '--prompt', '1:point:70,60', '--out', out) == 0
    (entry,) = json.loads(out.read_text())['images']
    assert entry['frame_index'] == 5 and entry['file_name'] == 'my clip_00005.png'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--prompt', '1:point:500,60'], 'point (500, 60) lies outside the image 160x120'),
        (['--prompt', '1:point:5,6,0'], 'only clicks off the object'),
        (['--prompt', '1:point:5,6@3'], 'is for another frame: give --frame instead'),
        (['--prompt', 'nonsense'], "cannot read the prompt 'nonsense'"),
        (['--prompt', '1:point:5,6', '--grid', '4'], 'for runs without --prompt'),
        (['--grid', '0'], 'points_per_side is 0; 1..128'),
        (['--frame', '7'], 'has no frame 7'),
        (['--frame', '-1'], '--frame is -1'),
        (['--out', 'found.txt'], '--out found.txt: the name must end in .png or .json'),
        (['--overlay', 'drawn.gif'], 'must end in .png or .jpg or .jpeg'),
        (['--out', 'nowhere/found.png'], 'nowhere is not a folder'),
        (['--out', 'same.png', '--overlay', 'same.png'], 'are the same file'),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    segment, image, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert segment(image, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_output_is_kept(segment, image, capsys):
    before = image.read_bytes()
    assert segment(image, '--prompt', '1:point:5,6', '--overlay', image) == 2
    assert 'exists; choose another name' in capsys.readouterr().err
    assert image.read_bytes() == before


def test_more_objects_than_an_indexed_image_holds(segment, image, tmp_path, capsys):
    out = tmp_path / 'labels.png'
    assert segment(image, '--prompt', '256:point:5,6', '--out', out) == 2
    assert 'object id 256 does not fit' in capsys.readouterr().err and not out.exists()


def test_the_bundled_model(graphs, tmp_path):
    scene = DemoScene()
    rgb, labels = scene.frame(0)
    image, out = tmp_path / 'scene.png', tmp_path / 'labels.png'
    cv2.imwrite(str(image), rgb[..., ::-1])
    rows, columns = np.nonzero(labels == 1)
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    arguments = ['--prompt', f'1:box:{",".join(map(str, box))}', '--out', str(out)]
    assert main(['segment', str(image), *arguments, '--weights', graphs, '--threads', '1']) == 0
    mask, truth = read_masks(out)[1], labels == 1
    assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.8
