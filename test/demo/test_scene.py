# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The drawn clip shows what the demo claims, and its ground truth fits its images."""

import cv2
import numpy as np
import pytest

from tam_ros.demo.scene import DemoScene


@pytest.fixture(scope='module')
def scene() -> DemoScene:
    return DemoScene()


@pytest.fixture(scope='module')
def truth(scene) -> np.ndarray:
    """Every label image, uint8 [N, H, W]."""
    return np.stack([scene.frame(index)[1] for index in range(scene.frames)])


def test_shapes_and_labels(scene, truth):
    rgb, labels = scene.frame(0)
    assert rgb.dtype == np.uint8 and rgb.shape == (*scene.size, 3)
    assert labels.dtype == np.uint8 and labels.shape == scene.size
    assert set(np.unique(truth)) == {0, 1, 2}


def test_a_frame_is_the_same_whenever_it_is_drawn(scene):
    forwards = [scene.frame(index) for index in (3, 4)]
    again = DemoScene()
    for index, (rgb, labels) in zip((4, 3), reversed(forwards), strict=True):
        np.testing.assert_array_equal(again.frame(index)[0], rgb)
        np.testing.assert_array_equal(again.frame(index)[1], labels)


def test_another_seed_is_another_clip(scene):
    rgb, labels = DemoScene(seed=8).frame(10)
    assert not np.array_equal(rgb, scene.frame(10)[0])
    assert not np.array_equal(labels, scene.frame(10)[1])


def test_both_objects_start_complete_and_of_reasonable_size(truth):
    for label in (1, 2):
        share = (truth[0] == label).mean()
        assert 0.04 < share < 0.12
        rows, columns = np.nonzero(truth[0] == label)
        assert rows.min() > 0 and rows.max() < truth.shape[1] - 1
        assert columns.min() > 0 and columns.max() < truth.shape[2] - 1


def test_the_fish_crosses_in_front_of_the_jellyfish(truth):
    area = (truth == 2).sum(axis=(1, 2))
    assert area[45:58].min() < 0.55 * area[20]
    assert area[68] > 0.95 * area[20]


def test_the_jellyfish_leaves_and_comes_back(truth):
    seen = (truth == 2).any(axis=(1, 2))
    gone = np.flatnonzero(~seen)
    assert 12 <= len(gone) <= 40
    assert np.array_equal(gone, np.arange(gone[0], gone[-1] + 1))
    assert (truth[-1] == 2).mean() > 0.04


def test_the_fish_stays(truth):
    assert ((truth == 1).mean(axis=(1, 2)) > 0.04).all()


def elongation(mask: np.ndarray) -> float:
    """Hu's second moment, which no shift, turn or zoom changes."""
    return float(cv2.HuMoments(cv2.moments(mask.astype('u1')))[1, 0])


@pytest.mark.parametrize('label', [1, 2])
def test_the_objects_deform(truth, label):
    still = (truth[0] == label).astype('u1')
    size = still.shape[::-1]
    turns = [cv2.getRotationMatrix2D((320, 180), angle, 0.9) for angle in range(-8, 9, 2)]
    rigid = [elongation(cv2.warpAffine(still, turn, size)) for turn in turns]
    drawn = [elongation(truth[index] == label) for index in range(20)]
    assert np.ptp(rigid) < 0.02 * np.mean(rigid)
    assert np.ptp(drawn) > 0.08 * np.mean(drawn)


def test_the_camera_moves(scene):
    """The background shifts by many pixels over the clip."""
    first, last = (cv2.cvtColor(scene.frame(i)[0], cv2.COLOR_RGB2GRAY) for i in (0, 100))
    strips = [np.float32(image[300:]) for image in (first, last)]
    assert np.corrcoef(strips[0].ravel(), strips[1].ravel())[0, 1] < 0.5


def test_truth_follows_the_colours(scene):
    """Pixels labelled fish are orange or white, pixels labelled jellyfish purple or pink."""
    for index in (0, 52, 140):
        rgb, labels = scene.frame(index)
        red, green, blue = (rgb[..., channel].astype(int) for channel in range(3))
        assert (red > blue - 25)[labels == 1].mean() > 0.97
        assert (blue > green - 10)[labels == 2].mean() > 0.95
        # The water around is neither: the outline is where the colour changes.
        around = cv2.dilate((labels > 0).astype('u1'), np.ones((9, 9))) - (labels > 0)
        assert (red < green)[
            around.astype(bool) & (np.indices(labels.shape)[0] < 180)
        ].mean() > 0.7


def test_prompts_fit_the_truth(scene):
    labels = scene.frame(0)[1]
    for prompt in scene.prompts:
        x0, y0, x1, y1 = map(int, prompt.box)
        inside = (labels == prompt.object_id)[y0 : y1 + 1, x0 : x1 + 1]
        assert inside.sum() == (labels == prompt.object_id).sum()
        assert inside.mean() > 0.4
    for prompt in scene.click_prompts:
        ((x, y),) = prompt.points
        assert labels[int(y), int(x)] == prompt.object_id


@pytest.mark.parametrize('index', [-1, 150])
def test_no_such_frame(scene, index):
    with pytest.raises(IndexError, match='150 frames'):
        scene.frame(index)
