# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Clips: reproducible, and their labels are what can be seen."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from training import motion, render, scene
from training import sources as sources_module
from training.scene import Background, Part, Thing


def flat_thing(colour, size, position, *, frames=3, labelled=True, present=None) -> Thing:
    """A flat square with its corner at `position`, moving 4 pixels right per frame."""
    x, y = position
    rgb = np.full((size, size, 3), colour, np.uint8)
    pose = np.stack([motion.affine(x + 4 * t, y, 0, 1, 1) for t in range(frames)])
    local = np.broadcast_to(np.eye(3), (frames, 3, 3))
    return Thing(
        [Part(rgb, np.full((size, size), 255, np.uint8), local)],
        pose,
        None,
        np.ones(frames, bool) if present is None else np.array(present),
        labelled,
        np.ones(frames),
    )


def empty_background(size: int) -> Background:
    """Black, without labels."""
    return Background(
        np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8), [], np.eye(3), None
    )


STILL = np.broadcast_to(np.eye(3), (3, 3, 3))


def test_clip_is_a_function_of_its_seed(sources):
    first = render.render_clip(7, sources, frames=4, size=96)
    again = render.render_clip(7, sources, frames=4, size=96)
    other = render.render_clip(8, sources, frames=4, size=96)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_shard_holds_the_clips_of_its_seeds(sources, tmp_path):
    render.write_shard(tmp_path / 'train_0_00003', 30, 2, sources, frames=3, size=64)
    images = np.load(tmp_path / 'train_0_00003.images.npy')
    labels = np.load(tmp_path / 'train_0_00003.labels.npy')
    expected = render.render_clip(31, sources, frames=3, size=64)
    assert np.array_equal(images[1], expected[0]) and np.array_equal(labels[1], expected[1])
    assert not list(tmp_path.glob('*.partial'))


@pytest.mark.parametrize('seed', range(12))
def test_first_frame_shows_an_object_to_prompt(sources, seed):
    images, labels = render.render_clip(seed, sources, frames=2, size=96)
    assert images.shape == (2, 96, 96, 3) and images.dtype == np.uint8
    assert labels.max() <= render.MAX_OBJECTS
    assert np.bincount(labels[0].ravel())[1:].max() >= 0.004 * 96 * 96


def test_labels_are_the_visible_pixels():
    """Each colour is one object, so the picture itself is the truth of the labels."""
    things = [flat_thing((200, 0, 0), 24, (8, 20)), flat_thing((0, 200, 0), 16, (16, 24))]
    for frame in range(3):
        image, labels = scene.paint(empty_background(64), things, STILL, frame, 64)
        assert np.array_equal(labels == 1, image[..., 0] > 100)
        assert np.array_equal(labels == 2, image[..., 1] > 100)
    assert (labels == 1).sum() == 24 * 24 - 16 * 16  # the front one hides the other


def test_unlabelled_occluder_hides_the_label():
    things = [
        flat_thing((200, 0, 0), 24, (8, 20)),
        flat_thing((0, 0, 200), 12, (8, 20), labelled=False),
    ]
    image, labels = scene.paint(empty_background(64), things, STILL, 0, 64)
    assert (image[..., 2] > 100).sum() == 144
    assert (labels == 1).sum() == 24 * 24 - 144 and set(np.unique(labels)) == {0, 1}


def test_absent_thing_has_neither_pixels_nor_label_but_keeps_its_number():
    things = [
        flat_thing((200, 0, 0), 10, (4, 4), present=[True, False, True]),
        flat_thing((0, 200, 0), 10, (30, 30)),
    ]
    image, labels = scene.paint(empty_background(64), things, STILL, 1, 64)
    assert image[..., 0].max() == 0 and set(np.unique(labels)) == {0, 2}


def test_camera_moves_picture_and_labels_alike():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:40, 10:30] = 255
    truth = (picture[..., 0] > 0).astype(np.uint8) * 9
    back = Background(picture, truth, [9], np.eye(3), None)
    camera = np.stack([motion.affine(5 * t, -3 * t, 0, 1, 1) for t in range(3)])
    image, labels = scene.paint(back, [], camera, 2, 64)
    assert np.array_equal(labels == 1, image[..., 0] > 127)
    assert np.argwhere(labels == 1).min(0).tolist() == [14, 20]


def test_jointed_parts_are_one_object(sources):
    rng = np.random.default_rng(3)
    seen = 0
    for _ in range(20):
        parts = scene.drawn_parts(rng, sources, 3, 64)
        seen += len(parts) > 1
        thing = flat_thing((0, 0, 0), 4, (32, 32))
        thing.parts = parts
        thing.pose = np.stack([motion.affine(32, 32, 0, 30, 30)] * 3)
        _, labels = scene.paint(empty_background(64), [thing], STILL, 1, 64)
        assert set(np.unique(labels)) == {0, 1}
    assert seen > 0


def annotated_video(folder, frames, entries):
    """Write frames of one grey, and masks of squares that move right, by frame number."""
    video = folder / 'data' / 'training'
    video.mkdir(parents=True)
    masks = {}
    for number in frames:
        Image.fromarray(np.full((36, 64, 3), 10 * number + 20, np.uint8)).save(
            video / f'90_square_{number:04d}.jpg'
        )
        if number in entries:
            mask = np.zeros((36, 64), np.uint8, order='F')
            mask[8:28, 8 + number : 28 + number] = 1
            masks[f'{number:04d}'] = (
                {'2': run_lengths.encode(mask)['counts'].decode()} if entries[number] else {}
            )
    (folder / '90_square.json').write_text(
        json.dumps(
            {'video': '90_square', 'size': [36, 64], 'objects': {'2': 'square'}, 'masks': masks}
        )
    )
    return folder / 'data'


def use_annotations(monkeypatch, folder):
    monkeypatch.setattr(sources_module, 'ANNOTATIONS', folder)
    sources_module._annotations.cache_clear()


def test_annotated_video_is_cut_where_frames_have_no_annotation(tmp_path, monkeypatch):
    data = annotated_video(tmp_path, range(7), {0: 1, 1: 1, 3: 1, 4: 0, 5: 1})
    use_annotations(monkeypatch, tmp_path)
    stretches = sources_module.read_footage(data, 'train')
    assert [[image.name for image in stretch] for stretch in stretches] == [
        [f'90_square_{n:04d}.jpg' for n in run] for run in ((0, 1), (3, 4, 5))
    ]
    assert (stretches[0][1].labels == 2).sum() == 400 and stretches[0][1].labels[8, 9] == 2
    assert not stretches[1][1].labels.any(), 'none of the objects is in that frame'
    assert sources_module.read_footage(data, 'val') == []


def test_footage_moves_its_objects_with_its_pictures(sources, tmp_path, monkeypatch):
    data = annotated_video(tmp_path, range(12), dict.fromkeys(range(12), 1))
    use_annotations(monkeypatch, tmp_path)
    footage = replace(sources, footage=sources_module.read_footage(data, 'train'))
    backs = render._footage(np.random.default_rng(3), footage, 12, 96)
    greys = [int(back.rgb[0, 0, 0]) for back in backs]
    assert len(backs) == 12 and len(set(greys)) >= 4, 'several pictures of the video are shown'
    for back in backs:
        left = np.flatnonzero((back.labels == 2).any(0))[0]
        assert left == pytest.approx(8 + (int(back.rgb[0, 0, 0]) - 20) / 10, abs=0.6)
    assert len({back.pose.tobytes() for back in backs}) == 1
    images, labels = render.render_clip(5, footage, frames=6, size=96, footage=1.0)
    assert images.shape == (6, 96, 96, 3) and labels[0].any()


def test_clips_without_footage_do_not_change_by_its_presence(sources, tmp_path, monkeypatch):
    data = annotated_video(tmp_path, range(4), dict.fromkeys(range(4), 1))
    use_annotations(monkeypatch, tmp_path)
    footage = replace(sources, footage=sources_module.read_footage(data, 'train'))
    for seed in range(4):
        assert np.array_equal(
            render.render_clip(seed, sources, frames=2, size=96)[0],
            render.render_clip(seed, footage, frames=2, size=96)[0],
        )


def test_shipped_annotations_fit_the_videos(shared_data):
    for split, videos in (('train', 14), ('val', 3)):
        found = sources_module.annotated_videos(shared_data, split)
        assert len(found) == videos
        for name, frames in found.items():
            annotated = [frame for frame in frames if frame is not None]
            assert len(annotated) >= 10, name
            assert all(frame.labels.shape == frame.rgb.shape[:2] for frame in annotated)
            about = sources_module._annotations(name)
            assert len(annotated) == len(about['masks']), f'{name}: a mask without its frame'


def test_shipped_annotations_are_masks_of_named_objects():
    files = sorted(sources_module.ANNOTATIONS.glob('*.json'))
    assert len(files) >= 15
    for file in files:
        about = json.loads(file.read_text())
        assert about['video'] == file.stem and about['video'] not in sources_module.UNUSED_VIDEOS
        for name, entry in about['masks'].items():
            assert name.isdigit() and set(entry) <= set(about['objects'])
            for counts in entry.values():
                area = run_lengths.area({'size': about['size'], 'counts': counts.encode()})
                assert 0 < area < 0.9 * 640 * 360
