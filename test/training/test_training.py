# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Training: the unrolled network learns, and an interrupted run continues as if never stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tam_ros.models.efficienttam import EfficientTAM
from training import prompts as prompting
from training import train
from training.clips import ClipStore, sample, vanishing
from training.initialise import initialise
from training.losses import mask_losses
from training.recipe import Phase, read
from training.streaming import Bank, Unroll, choose, resized
from training.validate import validate

PHASES = (
    Phase(
        'image', size=64, frames=1, clips=2, lr=(1e-3, 1e-3), positive_weight=(0.3, 0.1), steps=3
    ),
    Phase(
        'clips',
        size=64,
        frames=3,
        clips=1,
        lr=(1e-3, 5e-4),
        image_share=0.3,
        image_clips=2,
        steps=4,
    ),
)


def settings(clips, out, config, **changes) -> train.Settings:
    return train.Settings(clips=clips, out=out, config=config, phases=PHASES, **changes)


@pytest.fixture
def network(config) -> EfficientTAM:
    model = EfficientTAM(config)
    initialise(model, 0)
    return model


def test_loss_falls_on_one_batch(clips, network):
    batch = sample(ClipStore(clips), np.random.default_rng(0), clips=2, frames=3, size=64)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    history = []
    for _ in range(25):
        loss = Unroll(network).learn(batch, np.random.default_rng(5)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert np.isfinite(history).all()
    assert np.mean(history[-3:]) < 0.7 * history[0]


def test_a_closer_look_shows_the_object_where_its_mask_is(tmp_path):
    """A red disc on blue, whatever the window, the flips and the proportions."""
    y, x = np.mgrid[:128, :128]
    disc = (y - 50) ** 2 + (x - 70) ** 2 < 30**2
    images = np.where(disc[..., None], (200, 20, 20), (20, 20, 200)).astype(np.uint8)
    np.save(tmp_path / 'train_0_00000.images.npy', np.tile(images, (1, 4, 1, 1, 1)))
    np.save(tmp_path / 'train_0_00000.labels.npy', np.tile(disc.astype(np.uint8), (1, 4, 1, 1)))
    store, rng = ClipStore(tmp_path), np.random.default_rng(0)
    areas = set()
    for _ in range(40):
        batch = sample(store, rng, clips=1, frames=2, size=64)
        mask, image = batch.masks[0, 1].numpy(), batch.images[0, 1].numpy().astype(int)
        inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
        outside = ~cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
        assert inside.any() and outside.any()
        colour = image[inside].mean(0)
        # One colour inside, one outside, and they are not the same.
        assert np.ptp(image[inside], axis=0).max() <= 2
        assert np.ptp(image[outside], axis=0).max() <= 2
        assert np.abs(colour - image[outside].mean(0)).max() > 50
        areas.add(int(mask.sum()))
    assert len(areas) > 10 and max(areas) > 2 * min(areas)


def test_every_parameter_learns(clips, network):
    """Over mask, box and click prompts together; two are in checkpoints but never used."""
    batch = sample(ClipStore(clips), np.random.default_rng(1), clips=2, frames=4, size=64)
    for kind in ('mask', 'box', 'click'):
        unroll = Unroll(network)
        unroll.track(batch, kind, np.random.default_rng(0)).loss.backward()
    unroll.learn(batch, np.random.default_rng(0), corrections=1.0).loss.backward()
    silent = {
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    }
    assert silent <= {
        'no_mem_pos_enc',
        'no_obj_ptr',
        'sam_prompt_encoder.no_mask_embed.weight',
        'sam_prompt_encoder.point_embeddings.0.weight',
    }


def test_interrupted_run_continues_identically(clips, config, tmp_path):
    straight = train.Run(settings(clips, tmp_path / 'a', config))
    while not straight.finished:
        straight.step()

    (tmp_path / 'b').mkdir()
    first = train.Run(settings(clips, tmp_path / 'b', config))
    for _ in range(4):
        first.step()
    first.save()
    second = train.Run(settings(clips, tmp_path / 'b', config))
    assert second.progress.step == 4
    while not second.finished:
        second.step()
    for (name, a), b in zip(
        straight.model.state_dict().items(), second.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    for name, value in straight.ema.state.items():
        assert torch.equal(value, second.ema.state[name]), name


def test_checkpoint_has_the_official_layout(clips, config, tmp_path):
    run = train.Run(settings(clips, tmp_path, config))
    run.step()
    run.save()
    weights = torch.load(tmp_path / 'last.pt', weights_only=True)['model']
    EfficientTAM(config).load_state_dict(weights, strict=True)


def test_two_processes_average_their_gradients(clips, config, tmp_path):
    """Both ranks reach the end, and rank 0 writes the log and the checkpoint."""
    train.launch(settings(clips, tmp_path, config, processes=2, log_seconds=0.0))
    state = torch.load(tmp_path / 'last.pt', weights_only=True)
    assert state['progress']['step'] == 7
    assert 'loss_clip' in (tmp_path / 'log.csv').read_text()


def test_sizes_share_their_weights(network):
    other = resized(network, 96)
    assert other.config.grid == 6
    ours = dict(network.named_parameters())
    assert all(parameter is ours[name] for name, parameter in other.named_parameters())


def test_validation_scores_held_out_clips(clips, network):
    scores = validate(network, clips, torch.device('cpu'), frames=3)
    assert set(scores) == {'mask', 'box', 'click', 'box_0', 'click_0'}
    assert all(0 <= value <= 1 for value in scores.values())


def test_bank_reads_as_the_tracker_does():
    """The conditioning frame has the last temporal code, the frame d ago has d - 1."""
    bank = Bank()
    for frame in range(10):
        bank.add(torch.full((1, 4, 2), float(frame)), torch.full((1, 8), float(frame)))
    memories, index, pointers = bank.read(7)
    assert memories[0, :, 0, 0].tolist() == [0, 4, 5, 6, 7, 8, 9]
    assert index[0].tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert pointers[0, :, 0].tolist() == list(range(10))


def test_choice_of_the_candidate():
    """Ambiguous: best predicted IoU of 1..3; unambiguous: 0, unless it is unstable."""
    masks = torch.full((3, 4, 4, 4), -5.0)
    masks[:, :, :2] = 5.0
    masks[2, 0, 2:] = 0.01  # neither in nor out: unstable
    masks[:, 2, 0, 0] = 7.0
    ious = torch.tensor([[0.9, 0.1, 0.5, 0.2]]).expand(3, -1)
    pointers = torch.arange(4.0)[None, :, None].expand(3, -1, 2)
    low, pointer = choose(masks, ious, pointers, torch.tensor([False, True, True]))
    assert low[:, 0, 0, 0].tolist() == [7.0, 5.0, 7.0]
    assert pointer[:, 0].tolist() == [2.0, 0.0, 0.0]


def test_small_objects_weigh_more():
    target = torch.zeros(1, 16, 16)
    target[0, :2, :2] = 1.0
    empty = torch.full((1, 1, 16, 16), -3.0)
    plain, iou = mask_losses(empty, target, 0.0)
    weighed, _ = mask_losses(empty, target, 0.4)
    assert weighed > 2 * plain and iou.item() == 0


@pytest.mark.parametrize('kind', ['box', 'click'])
def test_prompts_lie_on_their_object(kind):
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 20:40, 10:50] = True
    given = prompting.first_prompts(mask, np.random.default_rng(0), [kind], jitter=0.0)
    if kind == 'box':
        assert given.points[0, :2].tolist() == [[10, 20], [50, 40]]
        assert given.labels[0].tolist() == [2, 3, -1, -2] and given.single.all()
    else:
        x, y = given.points[0, 0].int().tolist()
        assert mask[0, y, x]
        assert given.labels[0].tolist() == [1, -1, -2, -2] and not given.single.any()


def test_corrective_click_lies_in_the_error():
    truth = torch.zeros(1, 64, 64, dtype=torch.bool)
    truth[0, 10:40, 10:40] = True
    guess = truth.clone()
    guess[0, 10:40, 40:60] = True  # too much: a negative click is due
    first = prompting.first_prompts(truth, np.random.default_rng(0), ['click'])
    more = prompting.corrected(first, guess, truth, np.random.default_rng(0))
    x, y = more.points[0, 1].int().tolist()
    assert 40 <= x < 60 and 10 <= y < 40
    assert more.labels[0].tolist() == [1, 0, -1, -2]


def test_vanishing_objects_are_found():
    labels = np.zeros((3, 30, 30), np.uint8)
    labels[:, :10, :10] = 1
    labels[:2, 15:, 15:] = 4  # gone in the last frame
    assert vanishing(labels, np.array([1, 4])).tolist() == [4]


@pytest.mark.parametrize('name', ['recipe_cpu.yaml', 'recipe_gpu.yaml'])
def test_shipped_recipes_are_valid(name):
    phases = read(Path(train.__file__).parent / name)
    assert phases[0].frames == 1 and phases[-1].frames >= 8 and phases[-1].size == 384


def test_recipe_errors_name_the_phase(tmp_path):
    with pytest.raises(ValueError, match='seconds or steps'):
        dataclasses.replace(PHASES[0], seconds=3.0)
    path = tmp_path / 'recipe.yaml'
    path.write_text('phases:\n- {name: a, size: 64, frames: 1, clips: 1, lr: [1, 1], sped: 3}\n')
    with pytest.raises(ValueError, match='sped'):
        read(path)


@pytest.mark.parametrize('option', ['--model', '--teacher'])
def test_other_architectures_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        train.main([option, 'edgetam'])
    assert 'edgetam is no EfficientTAM' in capsys.readouterr().err
