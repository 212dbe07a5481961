# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Learning a teacher's masks of the same prompts; the teacher is a deterministic network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tam_ros.models.efficienttam import EfficientTAM
from tam_ros.models.prompt_encoder import NEGATIVE, POSITIVE
from training import prompt_loop, train
from training.distil import Distillation
from training.initialise import initialise
from training.prompt_loop import learn_from_prompts
from training.recipe import Phase
from training.streaming import Unroll

SIZE = 64


def network(config, seed=0) -> EfficientTAM:
    model = EfficientTAM(config)
    initialise(model, seed)
    return model


def discs(*centres) -> torch.Tensor:
    y, x = np.mgrid[:SIZE, :SIZE]
    return torch.tensor(np.stack([(x - a) ** 2 + (y - b) ** 2 < 144 for a, b in centres]))


class Answers:
    """A network whose candidates are all the same mask, whatever the prompt; notes the prompts."""

    size, jitter = SIZE, 0.0

    def __init__(self, masks):
        low = masks[:, ::4, ::4].float() * 20 - 10
        self.logits = low[:, None].repeat(1, 4, 1, 1)
        self.prompts, self.previous = [], []

    def without_memory(self, features):
        return features

    def decode(self, features, prompts, previous=None):
        self.prompts.append(prompts)
        self.previous.append(previous)
        count = len(self.logits)
        return self.logits, torch.zeros(count, 4), torch.ones(count, 1), torch.zeros(count, 4, 8)


def run(student, teacher, masks, rounds=1, seed=0):
    nothing = torch.zeros(len(masks), 1, 1, 1)
    rng = np.random.default_rng(seed)
    return learn_from_prompts(student, teacher, nothing, nothing, masks, rng, rounds)


def test_both_are_given_the_same_prompts_and_their_own_masks():
    mine, theirs = discs((20, 32)), discs((44, 32))
    student, teacher = Answers(mine), Answers(theirs)
    run(student, teacher, theirs, rounds=1)
    assert len(student.prompts) == len(teacher.prompts) == 2
    for one, other in zip(student.prompts, teacher.prompts, strict=True):
        assert one is other
    assert student.previous[0] is None and teacher.previous[0] is None
    assert torch.equal(student.previous[1][:, 0] > 0, student.logits[:, 0] > 0)
    assert torch.equal(teacher.previous[1][:, 0] > 0, teacher.logits[:, 0] > 0)


@pytest.mark.parametrize('seed', range(4))
def test_the_next_click_is_where_the_masks_disagree(seed):
    small, large = discs((32, 32)), torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    large[:, 8:56, 8:56] = True
    for student, teacher, label in ((small, large, POSITIVE), (large, small, NEGATIVE)):
        found = run(Answers(student), Answers(teacher), large, seed=seed)
        slot = int((found.prompts.labels[0] >= 0).sum()) - 1
        assert found.prompts.labels[0, slot] == label
        x, y = (int(one) for one in found.prompts.points[0, slot])
        assert large[0, y, x] and not small[0, y, x]
        assert found.prompts.single.all()


def test_the_loss_and_the_agreement():
    mine, theirs = discs((20, 32), (32, 32)), discs((44, 32), (32, 32))
    found = run(Answers(mine), Answers(theirs), theirs, rounds=0)
    assert found.agreement == pytest.approx(0.5)  # one object entirely, the other not at all
    same = run(Answers(theirs), Answers(theirs), theirs, rounds=1)
    assert same.agreement == 1 and same.loss < 0.01 < 1 < found.loss


def test_a_teacher_that_finds_nothing_teaches_nothing():
    empty = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks = discs((20, 32), (44, 32))
    assert run(Answers(masks), Answers(empty), masks) is None
    partly = torch.stack((masks[0], empty[1]))
    found = run(Answers(masks), Answers(partly), masks, rounds=1)
    assert found.agreement == 1


def test_of_an_ambiguous_prompt_the_nearest_candidate_learns():
    logits = torch.full((2, 4, 4, 4), -5.0, requires_grad=True)
    wanted = torch.ones(2, 4, 4, dtype=torch.bool)
    with torch.no_grad():
        logits[:, 2] = 1.0
    loss, chosen = prompt_loop._nearest(logits, wanted, torch.tensor([True, False]))
    assert chosen[0].mean() == -5 and chosen[1].mean() == 1
    loss.sum().backward()
    touched = logits.grad.abs().sum((-2, -1)) > 0
    assert touched.tolist() == [[True, False, False, False], [False, False, True, False]]


def test_a_student_comes_to_agree_with_its_teacher(config):
    """The teacher, a network of other random weights, is not changed."""
    config = replace(config, dense_prompt_prior=True)
    teacher = network(config, seed=9).eval()
    with torch.no_grad():  # masks that are neither empty nor full
        teacher.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(4)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student, distillation = network(config), Distillation(teacher, config.dim)
    distillation.rounds = 1
    images = torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    masks = discs((16, 20), (44, 20), (30, 44))
    optimiser = torch.optim.AdamW(student.parameters(), lr=2e-3)
    losses = []
    for _ in range(40):
        unroll = Unroll(student)
        features = unroll.encode(images[:, None])[:, 0]
        rng = np.random.default_rng(0)
        found = distillation.prompt_loss(unroll, images, features, masks, rng)
        optimiser.zero_grad()
        found.loss.backward()
        optimiser.step()
        losses.append(found.loss.item())
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_a_run_with_prompts_continues_identically(clips, config, tmp_path, monkeypatch):
    teacher = network(config, seed=9)
    monkeypatch.setattr(train.Distillation, 'of', lambda *_: Distillation(teacher, config.dim))
    phases = (Phase('image', size=SIZE, frames=1, clips=2, lr=(1e-3, 1e-3), steps=3),)

    def run(folder):
        folder.mkdir(exist_ok=True)
        settings = train.Settings(
            clips, folder, config, phases, teacher=('any', 'any'), prompt_rounds=1
        )
        return train.Run(settings)

    straight, first = run(tmp_path / 'a'), run(tmp_path / 'b')
    while not straight.finished:
        straight.step()
    assert 'teacher_iou' in straight.sums
    first.step()
    first.save()
    second = run(tmp_path / 'b')
    while not second.finished:
        second.step()
    for one, two in zip(straight.parameters, second.parameters, strict=True):
        assert torch.equal(one, two)


def test_rounds_need_a_teacher(capsys):
    with pytest.raises(SystemExit):
        train.main(['--prompt-rounds', '1'])
    assert '--prompt-rounds needs a --teacher' in capsys.readouterr().err
