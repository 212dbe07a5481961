# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Losses on candidate masks, predicted IoUs and object scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_targets(masks: Tensor) -> Tensor:
    """Reduce masks bool [..., S, S] to their coverage at stride 4: float [..., S / 4, S / 4]."""
    flat = masks.flatten(0, -3)[:, None].float()
    return functional.avg_pool2d(flat, 4)[:, 0].unflatten(0, masks.shape[:-2])


def mask_losses(logits: Tensor, target: Tensor, positive_weight: float) -> tuple[Tensor, Tensor]:
    """Return losses and IoU of each candidate.

    The binary cross-entropy weighs the object's pixels by `max(1, positive_weight / area)`: a
    small object would otherwise be best explained, early on, by an empty mask.

    Args:
        logits: float32 [O, M, h, w].
        target: coverage [O, h, w] in 0..1.
        positive_weight: area (share of the image) below which objects get extra weight.

    Returns:
        loss [O, M] (3 BCE + dice; BCE alone where the target is empty), IoU [O, M] detached.
    """
    target = target[:, None]
    area = target.mean((-2, -1), keepdim=True)
    weight = 1 + target * ((positive_weight / area.clamp(min=1e-4)).clamp(1.0, 40.0) - 1)
    bce = functional.binary_cross_entropy_with_logits(
        logits, target.expand_as(logits), reduction='none'
    )
    bce = (bce * weight).sum((-2, -1)) / weight.sum((-2, -1))
    probability = logits.sigmoid()
    overlap = (probability * target).sum((-2, -1))
    total = probability.sum((-2, -1)) + target.sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    with torch.no_grad():
        guess, truth = logits > 0, target > 0.5
        union = (guess | truth).sum((-2, -1))
        iou = (guess & truth).sum((-2, -1)) / union.clamp(min=1)
    filled = (area[..., 0, 0] > 0).float()
    return 3 * bce + filled * dice, iou


def decoding_loss(
    masks: Tensor,
    ious: Tensor,
    score: Tensor,
    target: Tensor,
    single: Tensor,
    positive_weight: float,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """Return the total loss of one decoder call.

    An ambiguous prompt is charged for its best candidate of three (and a little for the mean, so
    that none dies), an unambiguous one for candidate 0 and, less, for the best of the others,
    which the stability fallback may choose.

    Args:
        masks: logits [O, 4, h, w].
        ious: predicted [O, 4].
        score: object score logits [O, 1].
        target: coverage [O, h, w]; empty where the object is not visible.
        single: bool [O].
        positive_weight: see `mask_losses`.
        share: weight of the mean of the three candidates.

    Returns:
        loss [O]; IoU of the candidate that inference would take [O].
    """
    loss, iou = mask_losses(masks.float(), target, positive_weight)
    multi = (1 - share) * loss[:, 1:].amin(1) + share * loss[:, 1:].mean(1)
    total = torch.where(single, loss[:, 0] + 0.3 * multi, multi)
    present = (target.amax((-2, -1)) > 0.5).float()
    error = (ious.float() - iou).abs()
    error = torch.where(single, error.mean(1), error[:, 1:].mean(1))
    total = total + 0.5 * present * error
    total = total + functional.binary_cross_entropy_with_logits(score.float()[:, 0], present)
    best = iou[:, 1:].gather(1, ious[:, 1:].argmax(1, keepdim=True))[:, 0]
    return total, torch.where(single, iou[:, 0], best)
