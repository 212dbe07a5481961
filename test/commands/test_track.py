# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track`: every kind of source and of output, with prompts and masks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from bagdata import read_bag, stamps
from PIL import Image

from tam_ros.io.mask_files import voc_palette
from tam_ros.io.open_source import open_source
from tam_ros.tracking import Prompt, Tracker

FRAMES = 8
SIZE = (120, 160)
BOX = ('--prompt', '1:box:28,38,72,82')


def expected(weights, source, prompts) -> list[np.ndarray]:
    """Return the label images of a tracker that is prompted on the first frame."""
    with Tracker.open('efficienttam_nano', weights, threads=1) as tracker:
        return [
            tracker.step(frame.rgb, frame.stamp, prompts if index == 0 else []).labels
            for index, frame in enumerate(open_source(source))
        ]


# --- outputs ---


def test_bag_and_overlay(video, tam, tmp_path, pictures):
    out, overlay = tmp_path / 'out.mcap', tmp_path / 'over lay.mp4'
    prompts = ['--prompt', '7:box:28,38,72,82', '--prompt', '9:point:100,100;20,20,0@3']
    assert tam(video, *prompts, '--out', out, '--overlay', overlay, '--copy', 'all') == 0
    messages = read_bag(out)
    labels, objects = messages['/track_node/labels'], messages['/track_node/objects']
    times = [round(index * 1e8) for index in range(FRAMES)]
    assert stamps(labels) == stamps(objects) == stamps(messages['/image']) == times
    ids = [[item.id for item in array.objects] for array in objects]
    assert ids == [[7]] * 3 + [[7, 9]] * (FRAMES - 3)
    assert objects[-1].objects[0].age_frames == FRAMES - 1
    for image, array in zip(labels, objects, strict=True):
        assert (image.height, image.width) == (array.height, array.width) == SIZE
        assert set(np.unique(image.data)) <= {0, 7, 9}
    (first, *_) = messages['/image']
    error = np.abs(first.data.reshape(*SIZE, 3).astype(int) - pictures[0]).mean()
    assert error < 12  # of the compression of the source video
    assert len(list(open_source(overlay))) == FRAMES


def test_is_the_tracker_applied_frame_by_frame(video, tam_bundled, graphs, tmp_path):
    assert tam_bundled(video, *BOX, '--out', tmp_path / 'out.mcap') == 0
    by_hand = expected(graphs, video, [Prompt.box(1, (28, 38, 72, 82))])
    recorded = read_bag(tmp_path / 'out.mcap')['/track_node/labels']
    assert any(labels.any() for labels in by_hand)
    for message, labels in zip(recorded, by_hand, strict=True):
        np.testing.assert_array_equal(message.data.reshape(SIZE), labels)


def test_every_output_has_the_same_masks(video, tam, tmp_path):
    """Raw and PNG label images, in a single file and in a folder; indexed PNG files."""
    prompts = [*BOX, '--prompt', '2:point:120,20']
    raw, png, folder = tmp_path / 'raw.mcap', tmp_path / 'bag', tmp_path / 'masks'
    assert tam(video, *prompts, '--out', raw) == 0
    assert tam(video, *prompts, '--out', png, '--format', 'bag', '--labels', 'png') == 0
    assert tam(video, *prompts, '--out', folder) == 0
    assert (png / 'metadata.yaml').exists()
    packed = read_bag(png)['/track_node/labels/compressed']
    plain = [message.data.reshape(SIZE) for message in read_bag(raw)['/track_node/labels']]
    assert [path.name for path in sorted(folder.iterdir())] == [
        f'{index:05}.png' for index in range(FRAMES)
    ]
    assert all({1, 2} <= set(np.unique(labels)) for labels in plain)
    for index, (message, labels) in enumerate(zip(packed, plain, strict=True)):
        np.testing.assert_array_equal(cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED), labels)
        with Image.open(folder / f'{index:05}.png') as image:
            assert image.mode == 'P'
            np.testing.assert_array_equal(np.asarray(image), labels)
            np.testing.assert_array_equal(
                np.array(image.getpalette()).reshape(-1, 3)[:3], voc_palette()[:3]
            )


def test_masks_are_named_like_the_images(frames, tam, tmp_path):
    assert tam(frames, *BOX, '--out', tmp_path / 'masks') == 0
    assert {path.stem for path in (tmp_path / 'masks').iterdir()} == {
        path.stem for path in frames.iterdir()
    }


def test_coco(frames, tam, tmp_path):
    coco = pytest.importorskip('pycocotools.coco', reason='pycocotools is not installed')
    given = (*BOX, '--prompt', '2:point:120,20@2')
    assert tam(frames, *given, '--out', tmp_path / 'o.json') == 0
    opened = coco.COCO(str(tmp_path / 'o.json'))
    assert [image['file_name'] for image in opened.loadImgs(opened.getImgIds())] == [
        f'cam_{index}.png' for index in range(FRAMES)
    ]
    tracker = Tracker.open('efficienttam_nano', 'fake')
    prompts = {0: Prompt.box(1, (28, 38, 72, 82)), 2: Prompt.points(2, [(120, 20)], [1])}
    found = 0
    for index, frame in enumerate(open_source(frames)):
        due = [prompts[index]] if index in prompts else []
        tracked = tracker.step(frame.rgb, frame.stamp, due).objects
        annotations = opened.loadAnns(opened.getAnnIds(imgIds=[index + 1]))
        by_id = {item['track_id']: item for item in annotations}
        assert set(by_id) == {item.id for item in tracked if item.area}
        for item in tracked:
            if item.area:
                found += 1
                np.testing.assert_array_equal(opened.annToMask(by_id[item.id]), item.mask)
                x0, y0, x1, y1 = item.box
                assert by_id[item.id]['bbox'] == [x0, y0, x1 - x0, y1 - y0]
                assert by_id[item.id]['area'] == item.area
    assert found > FRAMES


@pytest.mark.parametrize('source', ['video', 'frames'])
def test_coco_with_polygons_and_frames(request, tam, tmp_path, source):
    recording = request.getfixturevalue(source)
    given = ('--out', tmp_path / 'o.json', '--masks-as', 'polygons', '--write-frames')
    assert tam(recording, *BOX, *given) == 0
    written = json.loads((tmp_path / 'o.json').read_text())
    folder = tmp_path / 'o_frames'
    names = [entry['file_name'] for entry in written['images']]
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    expected = 'my_clip_00000.jpg' if source == 'video' else 'cam_0.png'
    assert names[0] == expected and len(names) == FRAMES
    assert all(isinstance(item['segmentation'], list) for item in written['annotations'])
    for name, frame in zip(names, open_source(recording), strict=True):
        image = cv2.imread(str(folder / name))[..., ::-1]
        assert image.shape == frame.rgb.shape
        assert np.abs(image.astype(int) - frame.rgb).mean() < 5


def test_frames_in_a_folder_of_another_name(video, tam, tmp_path):
    assert tam(video, *BOX, '--out', tmp_path / 'o.json', '--write-frames', tmp_path / 'i') == 0
    assert len(list((tmp_path / 'i').iterdir())) == FRAMES


# --- prompts ---


def test_masks_as_prompts(video, tam, tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    labels[40:80, 30:70] = 5
    labels[90:110, 100:150] = 3
    Image.fromarray(labels).save(tmp_path / 'first@.png')
    assert tam(video, '--masks', tmp_path / 'first@.png', '--out', tmp_path / 'o.mcap') == 0
    prompts = [Prompt.mask(3, labels == 3), Prompt.mask(5, labels == 5)]
    by_hand = expected('fake', video, prompts)
    assert any(labels.any() for labels in by_hand)
    recorded = read_bag(tmp_path / 'o.mcap')['/track_node/labels']
    for message, wanted in zip(recorded, by_hand, strict=True):
        np.testing.assert_array_equal(message.data.reshape(SIZE), wanted)
    late = f'{tmp_path / "first@.png"}@6'
    assert tam(video, '--masks', late, *BOX, '--out', tmp_path / 'late.mcap') == 0
    objects = read_bag(tmp_path / 'late.mcap')['/track_node/objects']
    assert [len(array.objects) for array in objects] == [1] * 6 + [3] * 2


def test_as_many_objects_as_in_the_mask(frames, tam, tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    for number in range(18):  # more than the default of `max_objects`
        labels[20 * (number // 6) :, 24 * (number % 6) :] = number + 1
    Image.fromarray(labels).save(tmp_path / 'many.png')
    for path in sorted(frames.iterdir())[1:]:
        path.unlink()
    given = ('--masks', tmp_path / 'many.png', '--max-objects', 18)
    assert tam(frames, *given, '--out', tmp_path / 'o.mcap') == 0
    ((array,),) = [read_bag(tmp_path / 'o.mcap')['/track_node/objects']]
    assert len(array.objects) == 18


def test_both_ways(frames, tam_bundled, tmp_path):
    """The frames before the prompt are tracked like a reversed recording."""
    tam = tam_bundled
    prompt = ('--prompt', '1:box:40,38,84,82@3')
    forwards, both = tmp_path / 'forwards', tmp_path / 'both'
    assert tam(frames, *prompt, '--out', forwards) == 0
    assert tam(frames, *prompt, '--both-ways', '--out', both) == 0
    masks = [
        [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
        for folder in (forwards, both)
    ]
    assert len(masks[0]) == len(masks[1]) == FRAMES
    assert not any(labels.any() for labels in masks[0][:3])
    assert any(labels.any() for labels in masks[1][:3])
    np.testing.assert_array_equal(masks[0][3], masks[1][3])
    reverse = tmp_path / 'reverse'
    reverse.mkdir()
    for index, path in enumerate(sorted(frames.iterdir())[3::-1]):
        (reverse / f'{index}.png').symlink_to(path)
    out = tmp_path / 'reverse_masks'
    assert tam(reverse, '--prompt', '1:box:40,38,84,82', '--out', out) == 0
    for path, labels in zip(sorted(out.iterdir()), masks[1][3::-1], strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), labels)


def test_progress_shows_count_and_rate(video, tam, tmp_path, capsys):
    assert tam(video, *BOX, '--out', tmp_path / 'out.mcap') == 0
    captured = capsys.readouterr()
    assert f'{FRAMES}/{FRAMES}' in captured.err and 'frame/s' in captured.err
    assert f'out.mcap: {FRAMES} frames' in captured.out


def test_real_annotations_as_prompts(tam_bundled, tmp_path, shared_data):
    frames = tmp_path / 'bmx'
    frames.mkdir()
    for index in range(2):
        name = f'{index:05}.jpg'
        (frames / name).symlink_to(shared_data / 'JPEGImages' / 'bmx-trees' / name)
    masks = shared_data / 'FirstFrameMulti' / 'bmx-trees_00000.png'
    assert tam_bundled(frames, '--masks', masks, '--out', tmp_path / 'o.json') == 0
    written = json.loads((tmp_path / 'o.json').read_text())
    assert {item['track_id'] for item in written['annotations']} == {1, 2}
    with Image.open(masks) as image:
        assert [item['height'] for item in written['images']] == [image.height] * 2
