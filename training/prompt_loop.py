# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Distillation with prompts in the loop: teacher and student answer the same prompts.

EdgeSAM's second stage (arXiv 2312.06660): a box or a click is given to both; the student learns
the teacher's mask; then both get a further click where their masks disagree. So the student is
corrected where it errs, not only where its features differ.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.prompts import corrected, first_prompts
from training.streaming import LoopOutcome, Unroll, choose


def learn_from_prompts(
    student: Unroll,
    teacher: Unroll,
    features: Tensor,
    targets: Tensor,
    masks: Tensor,
    rng: np.random.Generator,
    rounds: int,
) -> LoopOutcome | None:
    """Prompt both networks and compare their masks.

    Args:
        student: the network that learns.
        teacher: the frozen one, at the same input size.
        features: of the student's image encoder [O, C, G, G].
        targets: of the teacher's [O, C', G, G].
        masks: bool [O, S, S], objects to prompt, none empty; nothing else is learned from them.
        rng: source of the prompts.
        rounds: clicks after the first prompt; a batch of prompts has room for one after a box.

    Returns:
        None if the teacher finds none of the objects.
    """
    kinds = ['box' if rng.random() < 0.5 else 'click' for _ in masks]
    prompts = first_prompts(masks, rng, kinds, student.jitter)
    features, targets = student.without_memory(features), teacher.without_memory(targets)
    before: tuple[Tensor | None, Tensor | None] = (None, None)
    losses, agreements = [], []
    for last in (*[False] * rounds, True):
        with torch.no_grad():
            wanted = _chosen(teacher.decode(targets, prompts, before[1]), prompts.single)
        present = (wanted > 0).flatten(1).any(1)
        if not present.any():
            break
        decoded = student.decode(features, prompts, before[0])
        loss, guess = _nearest(decoded[0].float(), wanted[:, 0] > 0, prompts.single)
        losses.append(loss[present].mean())
        agreements.append(_iou(guess > 0, wanted[:, 0] > 0)[present].mean().item())
        if last:
            break
        before = (guess[:, None].detach().clamp(-32, 32), wanted.clamp(-32, 32))
        # Where the teacher finds nothing, the object itself stands in: a click needs a mask.
        size = student.size
        full = functional.interpolate(wanted, size=(size, size), mode='bilinear')[:, 0] > 0
        truth = torch.where(full.flatten(1).any(1)[:, None, None], full, masks)
        mine = functional.interpolate(before[0], size=(size, size), mode='bilinear')[:, 0] > 0
        prompts = corrected(prompts, mine, truth, rng)
    if not losses:
        return None
    return LoopOutcome(torch.stack(losses).mean(), float(np.mean(agreements)), prompts)


def _chosen(decoded: tuple[Tensor, ...], single: Tensor) -> Tensor:
    """Return the mask logits [O, 1, h, w] that the tracker would take."""
    return choose(decoded[0], decoded[1], decoded[3], single)[0].float()


def _nearest(logits: Tensor, wanted: Tensor, single: Tensor) -> tuple[Tensor, Tensor]:
    """Compare candidates with the teacher's mask: binary cross-entropy and dice, equally weighted.

    Args:
        logits: of the student [O, 4, h, w].
        wanted: the teacher's mask, bool [O, h, w].
        single: bool [O], whether candidate 0 is asked for; else the nearest of the others.

    Returns:
        Loss [O] and logits [O, h, w] of that candidate.
    """
    target = wanted[:, None].float().expand_as(logits)
    bce = functional.binary_cross_entropy_with_logits(logits, target, reduction='none')
    probability = logits.sigmoid()
    overlap = (probability * target).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 1)
    loss = bce.mean((-2, -1)) + dice
    index = torch.where(single, 0, loss[:, 1:].argmin(1) + 1)
    rows = torch.arange(len(logits), device=logits.device)
    return loss[rows, index], logits[rows, index]


def _iou(one: Tensor, other: Tensor) -> Tensor:
    """Return the IoU of masks bool [O, h, w]: [O]."""
    shared, union = (one & other).sum((-2, -1)), (one | other).sum((-2, -1))
    return shared / union.clamp(min=1)
