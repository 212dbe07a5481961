# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Learning from a teacher, which here is a deterministic network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tam_ros.models.efficienttam import EfficientTAM
from training import train
from training.clips import ClipStore, sample
from training.distil import Distillation, relative_error
from training.initialise import initialise
from training.recipe import Phase
from training.streaming import Unroll


def network(config, seed=0) -> EfficientTAM:
    model = EfficientTAM(config)
    initialise(model, seed)
    return model


@pytest.fixture
def batch(clips):
    return sample(ClipStore(clips), np.random.default_rng(0), clips=2, frames=3, size=64)


@pytest.fixture
def teacher(config):
    """A larger network than the student's."""
    return network(replace(config, dim=64, trunk_dim=64, trunk_heads=4), seed=9)


def identity(distillation):
    for maps in (distillation.image, distillation.memory):
        torch.nn.init.eye_(maps.weight.data[..., 0, 0])
        torch.nn.init.zeros_(maps.bias)
    return distillation


def test_error_is_relative_to_the_truth():
    truth = torch.randn(3, 4)
    assert relative_error(truth, truth) == 0
    assert relative_error(torch.zeros(3, 4), truth * 100) == pytest.approx(1)


def test_a_student_that_is_its_own_teacher_has_nothing_to_learn(config, batch):
    """Same prompts, same memories, features after memory attention included."""
    student = network(config).eval()
    distillation = identity(Distillation(network(config), config.dim))
    outcome = Unroll(student).learn(batch, np.random.default_rng(1), teacher=distillation)
    assert outcome.scores['teacher_image'] < 1e-10
    assert outcome.scores['teacher_memory'] < 1e-10
    other = identity(Distillation(network(config, 5), config.dim))
    outcome = Unroll(student).learn(batch, np.random.default_rng(1), teacher=other)
    assert outcome.scores['teacher_image'] > 0.1 and outcome.scores['teacher_memory'] > 0.1


def test_student_comes_nearer_to_its_teacher(config, teacher, batch):
    student, distillation = network(config), Distillation(teacher, config.dim)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    optimiser = torch.optim.AdamW([*student.parameters(), *distillation.parameters()], lr=3e-3)
    history = []
    for step in range(30):
        features = Unroll(student).encode(batch.images)
        conditioned = []
        Unroll(student).track(
            batch, 'mask', np.random.default_rng(step), features=features, watch=conditioned.append
        )
        errors = (
            distillation.image_loss(batch.images, features),
            distillation.memory_loss(batch, 'mask', step, conditioned),
        )
        optimiser.zero_grad()
        sum(errors).backward()
        optimiser.step()
        history.append([error.item() for error in errors])
    first, last = np.mean(history[:3], 0), np.mean(history[-3:], 0)
    assert (last < 0.7 * first).all()
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())


def test_training_run_with_a_teacher_continues_identically(
    clips, config, teacher, tmp_path, monkeypatch
):
    monkeypatch.setattr(train.Distillation, 'of', lambda *_: Distillation(teacher, config.dim))
    phases = (
        Phase('image', size=64, frames=1, clips=2, lr=(1e-3, 1e-3), steps=2),
        Phase('clips', size=64, frames=3, clips=1, lr=(1e-3, 1e-3), steps=4),
    )

    def run(folder):
        folder.mkdir(exist_ok=True)
        return train.Run(train.Settings(clips, folder, config, phases, teacher=('any', 'any')))

    straight = run(tmp_path / 'a')
    while not straight.finished:
        straight.step()
    assert {'teacher_image', 'teacher_memory'} <= straight.sums.keys()
    first = run(tmp_path / 'b')
    for _ in range(3):
        first.step()
    first.save()
    second = run(tmp_path / 'b')
    while not second.finished:
        second.step()
    for one, two in zip(straight.parameters, second.parameters, strict=True):
        assert torch.equal(one, two)
    saved = torch.load(tmp_path / 'b' / 'last.pt', weights_only=True)
    assert saved['model'].keys() == network(config).state_dict().keys(), 'no teacher in it'
