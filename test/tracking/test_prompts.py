# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts that are refused, and the inputs of the mask decoder made from prompts."""

from __future__ import annotations

import kit
import numpy as np
import pytest

from tam_ros.tracking import Prompt, PromptError
from tam_ros.tracking.dense_prior import draw_prior
from tam_ros.tracking.prompts import fit_mask, point_tokens, resize_antialiased
from tracking.fake_runtime import SPEC

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Prompt.points(1, [], []), 'at least one point'),
        # more points than labels, and fewer
        (lambda: Prompt.points(1, [(1, 2)], []), '1 points but 0 labels'),
        (lambda: Prompt.points(1, [(1, 2)], [1, 1]), '1 points but 2 labels'),
        # the label of a box corner
        (lambda: Prompt.points(1, [(1, 2)], [2]), 'labels of points are 1'),
        (lambda: Prompt.points(1, [(1, 2, 3)], [1]), r'array \[P, 2\]'),
        (lambda: Prompt.points(1, [(NAN, 2)], [1]), 'not finite'),
        (lambda: Prompt.points(1, [(1, INF)], [1]), 'not finite'),
        (lambda: Prompt.points(1, [('a', 'b')], [1]), 'not numbers'),
        # ids
        (lambda: Prompt.points(-1, [(1, 2)], [1]), 'object id -1'),
        (lambda: Prompt.points(65536, [(1, 2)], [1]), 'object id 65536'),
        (lambda: Prompt.points(1.5, [(1, 2)], [1]), 'object id 1.5'),
        (lambda: Prompt.points('cup', [(1, 2)], [1]), 'object id cup'),
        (lambda: Prompt.points(NAN, [(1, 2)], [1]), 'object id nan'),
        # boxes: swapped in x, swapped in y, empty, too few numbers, not finite
        (lambda: Prompt.box(1, (9, 1, 3, 5)), 'corners swapped'),
        (lambda: Prompt.box(1, (1, 9, 3, 5)), 'corners swapped'),
        (lambda: Prompt.box(1, (1, 1, 1, 5)), 'empty'),
        (lambda: Prompt.box(1, (1, 1, 5)), 'four numbers'),
        (lambda: Prompt.box(1, (1, 1, 5, NAN)), 'not finite'),
        (lambda: Prompt.box(1, (1, 1, 5, 5), points=[(2, 2)]), '1 points but 0 labels'),
        # masks
        (lambda: Prompt.mask(1, np.zeros((4, 4), bool)), 'empty'),
        (lambda: Prompt.mask(1, np.ones((4, 4, 3))), r'\[height, width\]'),
    ],
)
def test_refused_when_created(make, message):
    with pytest.raises(PromptError, match=message):
        make()


@pytest.mark.parametrize(
    ('prompt', 'message'),
    [
        (Prompt.points(1, [(640, 10)], [1]), r'point \(640, 10\) lies outside the image 640x480'),
        (Prompt.points(1, [(5, 5), (-1, 10)], [1, 0]), r'point \(-1, 10\)'),
        (Prompt.box(1, (700, 10, 800, 20)), 'box .* outside'),
        (Prompt.box(1, (10, 10, 50, 50), [(5, 480)], [1]), r'point \(5, 480\)'),
        (Prompt.mask(1, np.ones((10, 20), bool)), '20x10 but the image 640x480'),
    ],
)
def test_refused_on_an_image(prompt, message):
    with pytest.raises(PromptError, match=message):
        prompt.check_image(480, 640)


@pytest.mark.parametrize(
    'prompt',
    [
        Prompt.points(0, [(0, 0), (639, 479)], [1, 0]),  # the corner pixels
        Prompt.box(65535, (-20, -20, 700, 500)),  # a box may reach beyond the image
        Prompt.box(1, (10, 10, 50, 50), [(20, 20)], [0]),
        Prompt.mask(1, np.eye(480, 640)),
    ],
)
def test_accepted_on_an_image(prompt):
    prompt.check_image(480, 640)


def test_the_corners_of_a_box_precede_its_clicks():
    prompt = Prompt.box(3, (1, 2, 5, 6), [(3, 4)], [1])
    assert prompt.points_xy.tolist() == [[1, 2], [5, 6], [3, 4]]
    assert prompt.labels.tolist() == [2, 3, 1]


def test_merged_prompts_begin_with_the_last_box_or_mask():
    click, box = Prompt.points(1, [(1, 1)], [1]), Prompt.box(1, (2, 2, 9, 9))
    mask = Prompt.mask(1, np.ones((4, 4)))
    assert Prompt.merged([click, click]).labels.tolist() == [1, 1]
    assert Prompt.merged([click, box, click]).labels.tolist() == [2, 3, 1]
    assert Prompt.merged([box, mask, click]).mask_image is mask.mask_image
    assert Prompt.merged([mask, box]).mask_image is None


def test_the_mask_that_points_refine_is_clipped():
    size = SPEC.mask_size
    previous = np.full((size, size), -1024, np.float32)
    previous[0, 0] = 5
    points = np.array([[32, 24]], np.float32)
    tokens = point_tokens(points, np.array([1]), previous, (48, 64), SPEC)
    assert tokens.has_mask.tolist() == [1]
    assert (tokens.mask[0, 0, 0, 0], tokens.mask.min()) == (5, -32)
    assert previous.min() == -1024, 'the prediction itself is not changed'


needs_kit = pytest.mark.skipif(
    not kit.KIT.is_dir(), reason='the parity kit (../shared/parity/efficienttam) is absent'
)


def given(what, shape):
    return kit.fill().tensor(what, shape, str(kit.reference('select')['salt']), 1)[0, 0]


@needs_kit
def test_antialiased_resize_equals_that_of_torch():
    expected = kit.reference('select')['aa_down']
    ours = resize_antialiased(given('aa', (1, 1, 300, 400)), 128, 128)[::4, ::4]
    np.testing.assert_allclose(ours, expected.reshape(ours.shape), atol=1e-5)


@needs_kit
def test_a_mask_prompt_is_resized_as_officially():
    ours = fit_mask(given('pts_mask', (1, 1, 100, 140)) > 0.3, 512)
    packed = kit.reference('select')['maskprompt_resized']
    theirs = np.unpackbits(packed)[: ours.size].reshape(ours.shape)
    # A value of exactly one half may be rounded up or down.
    assert (ours != theirs.astype(bool)).mean() < 1e-4


def test_prior_of_a_box_is_its_rectangle():
    prior = draw_prior(np.array([[0.25, 0.5], [0.75, 1.0]], np.float32), np.array([2, 3]), 8)
    expected = np.full((8, 8), -10.0)
    expected[4:, 2:6] = 3
    np.testing.assert_allclose(prior, expected)


def test_prior_of_clicks_peaks_on_the_positive_ones_only():
    points = np.array([[0.25, 0.25], [0.75, 0.75]], np.float32)
    prior = draw_prior(points, np.array([1, 0]), 64)
    assert np.unravel_index(prior.argmax(), prior.shape) in {
        (15, 15),
        (15, 16),
        (16, 15),
        (16, 16),
    }
    assert prior.max() > 2.5 and prior[48, 48] < -9.9
    assert draw_prior(points, np.array([0, 0]), 64) is None
