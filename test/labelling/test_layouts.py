# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The data sets are read by those who would train on them, or by the rules of their readers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from labelling.test_run import OneWorker, label
from PIL import Image

from tam_ros.evaluation.dataset import open_dataset
from tam_ros.io.outlines import one_ring, polygons

PROMPTS = ['1:box:10,20,30,40', '7:box:40,5,70,15']
CLASSES = {1: 'mug', 7: 'forklift'}


@pytest.fixture
def out(write_job, tmp_path) -> Path:
    recordings = [
        {'source': 'clips/first', 'prompts': PROMPTS, 'classes': CLASSES},
        {'source': 'clips/second', 'prompts': PROMPTS[1:], 'classes': CLASSES},
        {'source': 'clips/third', 'prompts': PROMPTS, 'classes': CLASSES, 'split': 'val'},
    ]
    write = ['png', 'coco', 'yolo', 'davis', 'youtube_vos']
    summary = label(write_job(recordings=recordings, write=write, every=2), OneWorker())
    assert not summary.failed
    return tmp_path / 'out'


def truth(out: Path, name: str, frame: int) -> np.ndarray:
    with Image.open(out / 'masks' / name / f'{frame:05}.png') as image:
        return np.asarray(image)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_coco(out, split):
    coco = pytest.importorskip('pycocotools.coco', reason='pycocotools is not installed')
    data = coco.COCO(str(out / f'coco/annotations_{split}.json'))
    names = {'train': ['first', 'second'], 'val': ['third']}[split]
    assert [one['name'] for one in data.loadCats(data.getCatIds())] == ['forklift', 'mug']
    images = data.loadImgs(data.getImgIds())
    assert [one['file_name'] for one in images] == [
        f'{name}_{frame:05}.jpg' for name in names for frame in (0, 2, 4)
    ]
    for image in images:
        name, frame = image['file_name'].removesuffix('.jpg').split('_')
        with Image.open(out / 'coco/images' / image['file_name']) as picture:
            assert picture.size == (image['width'], image['height'])
        labels = truth(out, name, int(frame))
        found = data.loadAnns(data.getAnnIds(image['id']))
        assert {one['track_id'] for one in found} == set(np.unique(labels[labels > 0]).tolist())
        for one in found:
            assert one['iscrowd'] == 0 and isinstance(one['segmentation'], list)
            category = data.loadCats(one['category_id'])[0]['name']
            assert category == CLASSES[one['track_id']]
            assert (data.annToMask(one)[labels == one['track_id']] == 1).all()


def test_yolo(out):
    """By the rules of Ultralytics: where labels are, what a line is, which classes exist."""
    about = yaml.safe_load((out / 'yolo/data.yaml').read_text())
    assert about['names'] == {0: 'forklift', 1: 'mug'}
    count = 0
    for split in ('train', 'val'):
        folder = out / 'yolo' / about[split]
        for picture in sorted(folder.iterdir()):
            parts = list(picture.parts)
            parts[-3] = 'labels'
            file = Path(*parts).with_suffix('.txt')
            name, frame = picture.stem.split('_')
            labels = truth(out, name, int(frame))
            height, width = labels.shape
            with Image.open(picture) as image:
                assert image.size == (width, height)
            for line in file.read_text().splitlines():
                number, *corners = line.split()
                ring = np.array(corners, float).reshape(-1, 2)
                assert len(ring) >= 3 and (ring >= 0).all() and (ring <= 1).all()
                object_id = {'forklift': 7, 'mug': 1}[about['names'][int(number)]]
                pixels = np.rint(ring * (width, height)).astype(np.int32)
                drawn = cv2.fillPoly(np.zeros_like(labels), [pixels], 1) > 0
                wanted = labels == object_id
                assert np.count_nonzero(drawn & wanted) > 0.8 * np.count_nonzero(drawn | wanted)
                count += 1
    assert count == sum(
        len(np.unique(truth(out, name, frame))) - 1
        for name in ('first', 'second', 'third')
        for frame in (0, 2, 4)
    )


@pytest.mark.parametrize(
    ('folder', 'names'),
    [
        ('davis', ['first', 'second', 'third']),
        ('youtube_vos/train', ['first', 'second']),
        ('youtube_vos/val', ['third']),
    ],
)
def test_davis_and_youtube_vos(out, folder, names):
    sequences = open_dataset(out / folder)
    assert [one.name for one in sequences] == names
    for one in sequences:
        for frame, read in zip((0, 2, 4), one, strict=True):
            assert (read.labels == truth(out, one.name, frame)).all()


def test_lists(out):
    sets = out / 'davis/ImageSets/2017'
    assert (sets / 'train.txt').read_text().split() == ['first', 'second']
    assert (sets / 'val.txt').read_text().split() == ['third']
    videos = json.loads((out / 'youtube_vos/train/meta.json').read_text())['videos']
    assert videos['second']['objects'].keys() == {'7'}
    seen = videos['first']['objects']['1']
    assert seen['category'] == 'mug'
    assert seen['frames'] == [f'{n:05}' for n in (0, 2, 4) if (truth(out, 'first', n) == 1).any()]


@pytest.mark.parametrize('seed', range(8))
def test_parts_are_joined_to_one_polygon(seed):
    """Joined lines have no width: the area of the polygon is that of the mask."""
    rng = np.random.default_rng(seed)
    mask = cv2.resize(rng.integers(0, 2, (6, 8), np.uint8), (40, 30), interpolation=0) > 0
    ring = one_ring(polygons(mask)).astype(np.int64)
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(np.count_nonzero(mask))
