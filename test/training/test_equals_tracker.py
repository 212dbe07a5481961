# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What is trained is what runs: the unrolled network gives the tracker's masks."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional

from tam_ros.catalogue import Model
from tam_ros.loading import CatalogueSource
from tam_ros.models.efficienttam import EfficientTAM
from tam_ros.runtime.torch import TorchBackend
from tam_ros.tracking import Prompt, Tracker
from tam_ros.tracking.dense_prior import draw_prior
from training.clips import Batch, ClipStore, promptable, resize
from training.initialise import initialise
from training.prompts import click_position, dense_prior, first_prompts
from training.streaming import Unroll


@pytest.mark.parametrize('kind', ['mask', 'box'])
def test_unrolled_network_gives_the_masks_of_the_tracker(clips, config, tmp_path, kind):
    network = EfficientTAM(config)
    initialise(network, 3)
    network.eval()
    checkpoint = tmp_path / 'weights.pt'
    torch.save({'model': network.state_dict()}, checkpoint)
    entry = Model('tiny', 'efficienttam', 'test', 'none', asdict(config))
    source = CatalogueSource(entry, checkpoint)
    tracker = Tracker(TorchBackend(None, 'auto').open_tracker(source))

    images, labels = resize(*ClipStore(clips).clip(0), config.image_size)
    value = int(promptable(labels[0])[0])
    masks = torch.from_numpy(labels == value)[None]
    batch = Batch(torch.from_numpy(images)[None], masks, torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        outcome = Unroll(network, jitter=0.0).track(
            batch, kind, np.random.default_rng(0), keep=True
        )
    logits = functional.interpolate(outcome.masks, scale_factor=4, mode='bilinear')[0].numpy()

    truth = masks[0, 0].numpy()
    if kind == 'mask':
        prompt = Prompt.mask(1, truth)
    else:
        ys, xs = np.nonzero(truth)
        prompt = Prompt.box(1, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    for index, image in enumerate(images):
        frame = tracker.step(image, index / 15, [prompt] if index == 0 else [])
        if index == 0 and kind == 'mask':
            continue  # the tracker returns a given mask untouched
        # Untrained logits hover around 0, so the undecided pixels are left out.
        clear = np.abs(logits[index]) > 1e-2 * np.abs(logits[index]).max()
        assert clear.mean() > 0.5
        assert np.array_equal(frame.objects[0].mask[clear], logits[index][clear] > 0), index


@pytest.mark.parametrize('kind', ['box', 'click'])
def test_prior_is_the_one_of_the_tracker(kind):
    mask = torch.zeros(1, 96, 96, dtype=torch.bool)
    mask[0, 20:45, 10:70] = True
    prompts = first_prompts(mask, np.random.default_rng(0), [kind])
    ours, has_mask = dense_prior(prompts, 96)
    given = prompts.labels[0] >= 0
    points = prompts.points[0][given].numpy() / 96
    theirs = draw_prior(points, prompts.labels[0][given].numpy(), 24)
    assert has_mask.tolist() == [1.0]
    # The decoder puts clicks at pixel centres, the prior's numpy twin at their corners.
    assert np.abs(ours[0, 0].numpy() - theirs).max() < (1.0 if kind == 'click' else 1e-4)


def test_click_lies_inside():
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 40), bool)
    mask[3:9, 30:38] = True
    for _ in range(20):
        x, y = click_position(mask, rng)
        assert mask[int(y), int(x)]
    with pytest.raises(ValueError, match='empty'):
        click_position(np.zeros((4, 4), bool), rng)
