# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""COCO annotations: pycocotools opens them, also after an interruption."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import coco
from pycocotools import mask as coco_mask

from tam_ros.io.coco_writer import CocoImage, CocoWriter
from tam_ros.new_output import OutputError


def tracked(number: int, *window: slice) -> SimpleNamespace:
    """Return an object whose mask has random pixels in a window; without it, an empty mask."""
    mask = np.zeros((30, 40), bool)
    if window:
        part = np.random.default_rng(number).random(mask[window].shape) < 0.7
        part[0, 0] = part[-1, -1] = True
        mask[window] = part
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if window else None
    box = box and tuple(map(int, box))
    return SimpleNamespace(
        id=number, mask=mask, area=int(mask.sum()), box=box, score=0.75, state='visible'
    )


def image(index: int) -> CocoImage:
    return CocoImage(index, f'{index:05}.jpg', (30, 40), 10**9 + index)


def test_opened_by_pycocotools(tmp_path, capsys):
    first, second = tracked(7, slice(3, 9), slice(4, 20)), tracked(9, slice(0, 30), slice(39, 40))
    with CocoWriter(tmp_path / 'o.json') as writer:
        writer.write(image(0), [first, tracked(9)])
        writer.write(image(1), [])
        writer.write(image(2), [first, second])
    opened = coco.COCO(str(tmp_path / 'o.json'))
    assert sorted(opened.getImgIds()) == [1, 2, 3]
    counts = [len(opened.getAnnIds(imgIds=[number])) for number in (1, 2, 3)]
    assert counts == [1, 0, 2]  # an object without a pixel has no annotation
    last = opened.loadAnns(opened.getAnnIds(imgIds=[3]))
    for annotation, item in zip(last, (first, second), strict=True):
        assert annotation['track_id'] == item.id
        np.testing.assert_array_equal(opened.annToMask(annotation), item.mask)
    assert last[0]['bbox'] == [4, 3, 16, 6] and last[0]['area'] == first.area
    assert opened.loadImgs(3)[0] == {
        'id': 3, 'file_name': '00002.jpg', 'height': 30, 'width': 40,
        'frame_index': 2, 'stamp_ns': 10**9 + 2,
    }  # fmt: skip


@pytest.mark.parametrize('masks', ['rle', 'polygons'])
def test_both_kinds_of_masks_are_the_same_pixels(tmp_path, capsys, masks):
    holes, parts = tracked(7, slice(3, 29), slice(4, 36)), tracked(9, slice(0, 1), slice(0, 40))
    with CocoWriter(tmp_path / 'o.json', masks) as writer:
        writer.write(image(0), [holes, parts])
    opened = coco.COCO(str(tmp_path / 'o.json'))
    annotations = opened.loadAnns(opened.getAnnIds())
    for annotation, item in zip(annotations, (holes, parts), strict=True):
        assert isinstance(annotation['segmentation'], {'rle': dict, 'polygons': list}[masks])
        assert annotation['iscrowd'] == 0
        runs = opened.annToRLE(annotation)
        np.testing.assert_array_equal(coco_mask.decode(runs), item.mask)
        assert coco_mask.area(runs) == annotation['area'] == item.area
        assert coco_mask.toBbox(runs).tolist() == annotation['bbox']


def yolo_line(annotation: dict, width: int, height: int) -> list[float]:
    """Return the label that the converter of Ultralytics makes of an annotation.

    Read from ultralytics/data/converter.py (ultralytics/ultralytics at 002217d): annotations with
    `iscrowd` and boxes without area are left out; `segmentation` is a list of lists of numbers,
    and several lists become one line of points, here without the lines that connect them.
    """
    assert not annotation.get('iscrowd', False)
    _, _, box_width, box_height = map(float, annotation['bbox'])
    assert box_width > 0 and box_height > 0
    numbers = [float(number) for ring in annotation['segmentation'] for number in ring]
    points = np.array(numbers).reshape(-1, 2) / (width, height)
    return [annotation['category_id'] - 1, *points.reshape(-1)]


def test_importers_of_polygons_get_labels(tmp_path):
    items = [tracked(7, slice(3, 9), slice(4, 20)), tracked(9, slice(0, 30), slice(39, 40))]
    with CocoWriter(tmp_path / 'o.json', 'polygons') as writer:
        writer.write(image(0), items)
    written = json.loads((tmp_path / 'o.json').read_text())
    assert len(written['annotations']) == 2
    for annotation in written['annotations']:
        number, *points = yolo_line(annotation, 40, 30)
        assert number == 0 and len(points) >= 8 and len(points) % 2 == 0
        assert min(points) >= 0 and max(points) <= 1
        for ring in annotation['segmentation']:
            assert len(ring) >= 6, 'pycocotools takes four numbers for a box'
    # Labels are put beside each other under the names of the images, with another suffix.
    names = [entry['file_name'] for entry in written['images']]
    assert all(Path(name).name == name and Path(name).suffix for name in names)


def test_polygons_need_no_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    with CocoWriter(tmp_path / 'o.json', 'polygons') as writer:
        writer.write(image(0), [tracked(1, slice(3, 9), slice(4, 20))])
    assert len(json.loads((tmp_path / 'o.json').read_text())['annotations']) == 1


@pytest.mark.parametrize('interruption', [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize('frames', [0, 3])
def test_interrupted_file_is_complete_up_to_there(tmp_path, interruption, frames):
    with pytest.raises(interruption), CocoWriter(tmp_path / 'o.json') as writer:
        for index in range(frames):
            writer.write(image(index), [tracked(1, slice(3, 9), slice(4, 20))])
        raise interruption
    written = json.loads((tmp_path / 'o.json').read_text())
    assert len(written['images']) == len(written['annotations']) == frames


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / 'o.json').write_text('mine')
    with pytest.raises(OutputError, match='o.json exists'):
        CocoWriter(tmp_path / 'o.json')
    assert (tmp_path / 'o.json').read_text() == 'mine'
