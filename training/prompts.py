# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts made from true masks, as a person would give them, and as the decoder takes them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from tam_ros.model_files import ABSENT, PADDING
from tam_ros.models.prompt_encoder import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    NEGATIVE,
    POSITIVE,
)

MAX_POINTS = 4


@dataclass
class PromptBatch:
    """Prompts of O objects.

    Attributes:
        points: float32 [O, P, 2], pixels (x, y) of the network input.
        labels: int64 [O, P].
        single: bool [O]; unambiguous (a box, two points or more): one mask is asked for.
    """

    points: Tensor
    labels: Tensor
    single: Tensor


def tracking_prompt(count: int, device: torch.device) -> PromptBatch:
    """What the decoder gets on frames without a prompt: two "not a point" tokens."""
    labels = torch.full((count, 2), PADDING, device=device)
    return PromptBatch(
        torch.zeros(count, 2, 2, device=device),
        labels,
        torch.zeros(count, dtype=torch.bool, device=device),
    )


def click_position(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """A point (x, y) inside a mask bool [S, S]: its depth's maximum, or anywhere not at the edge.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError('an empty mask has no point to click')
    x0, y0, w, h = cv2.boundingRect(mask.astype(np.uint8))
    window = np.pad(mask[y0 : y0 + h, x0 : x0 + w].astype(np.uint8), 1)
    depth = cv2.distanceTransform(window, cv2.DIST_L2, 3)
    if rng.random() < 0.5:
        y, x = np.unravel_index(depth.argmax(), depth.shape)
    else:
        ys, xs = np.nonzero(depth >= 0.4 * depth.max())
        pick = rng.integers(len(ys))
        y, x = ys[pick], xs[pick]
    return float(x - 1 + x0), float(y - 1 + y0)


def tight_box(mask: np.ndarray) -> np.ndarray:
    """Corners float64 [4] (x0, y0, x1, y1; x1, y1 exclusive) of a mask bool [S, S]."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return np.array([x, y, x + w, y + h], np.float64)


def first_prompts(
    masks: Tensor, rng: np.random.Generator, kinds: list[str], jitter: float = 0.08
) -> PromptBatch:
    """A box or a click for each object.

    Args:
        masks: bool [O, S, S], none empty.
        rng: source of the jitter and the click positions.
        kinds: 'box' or 'click' for each object.
        jitter: largest deviation of a box side, in box sizes; half of the boxes are exact.
    """
    count, size = len(masks), masks.shape[-1]
    points = np.zeros((count, MAX_POINTS, 2), np.float32)
    labels = np.full((count, MAX_POINTS), ABSENT, np.int64)
    for number, (mask, kind) in enumerate(zip(masks.cpu().numpy(), kinds, strict=True)):
        if kind == 'box':
            box = tight_box(mask)
            if jitter and rng.random() < 0.5:
                extent = np.tile(box[2:] - box[:2], 2)
                box = (box + rng.uniform(-jitter, jitter, 4) * extent).clip(0, size)
            points[number, :2] = box.reshape(2, 2)
            labels[number, :3] = (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, PADDING)
        else:
            points[number, 0] = click_position(mask, rng)
            labels[number, :2] = (POSITIVE, PADDING)
    single = torch.tensor([kind == 'box' for kind in kinds])
    device = masks.device
    return PromptBatch(
        torch.from_numpy(points).to(device), torch.from_numpy(labels).to(device), single.to(device)
    )


def corrected(
    prompts: PromptBatch, predicted: Tensor, truth: Tensor, rng: np.random.Generator
) -> PromptBatch:
    """Add one click in the error of a prediction (a positive one where nothing is missing).

    Args:
        prompts: with room for one more point.
        predicted: bool [O, S, S].
        truth: bool [O, S, S].
        rng: source of the click positions.
    """
    points, labels = prompts.points.clone(), prompts.labels.clone()
    for number, (guess, mask) in enumerate(
        zip(predicted.cpu().numpy(), truth.cpu().numpy(), strict=True)
    ):
        missing, extra = mask & ~guess, guess & ~mask
        add = missing.sum() >= extra.sum()
        x, y = click_position(missing if missing.any() and add else mask if add else extra, rng)
        slot = int((labels[number] >= 0).sum())
        points[number, slot] = torch.tensor((x, y))
        labels[number, slot] = POSITIVE if add else NEGATIVE
        labels[number, slot + 1] = PADDING
    return PromptBatch(points, labels, torch.ones_like(prompts.single))


def dense_prior(prompts: PromptBatch, size: int) -> tuple[Tensor, Tensor]:
    """The mask prompt that stands for a box or clicks, as `tam_ros.tracking.dense_prior` draws it.

    Args:
        prompts: boxes and clicks; negative clicks are ignored.
        size: side of the network input in pixels.

    Returns:
        Logits [O, 1, size / 4, size / 4]: 3 inside the box and -10 outside, or a bump of the
        same range around each positive click; and has_mask [O], 1 where there is any.
    """
    device = prompts.points.device
    centre = (torch.arange(size // 4, device=device) + 0.5) * 4
    y, x = centre[:, None], centre[None, :]
    logits = torch.full((len(prompts.points), size // 4, size // 4), -10.0, device=device)
    for slot in range(prompts.points.shape[1]):
        px, py = (prompts.points[:, slot, axis, None, None] + 0.5 for axis in (0, 1))
        distance = (x - px) ** 2 + (y - py) ** 2
        bump = 13.0 * torch.exp(-distance / (2 * (0.07 * size) ** 2)) - 10.0
        positive = (prompts.labels[:, slot] == POSITIVE)[:, None, None]
        logits = torch.where(positive, torch.maximum(logits, bump), logits)
    corner0, corner1 = prompts.points[:, 0, :, None, None], prompts.points[:, 1, :, None, None]
    inside = (
        (x >= corner0[:, 0]) & (x <= corner1[:, 0]) & (y >= corner0[:, 1]) & (y <= corner1[:, 1])
    )
    box = (prompts.labels[:, 0] == BOX_TOP_LEFT)[:, None, None]
    logits = torch.where(box & inside, torch.full_like(logits, 3.0), logits)
    has_mask = ((prompts.labels == POSITIVE) | (prompts.labels == BOX_TOP_LEFT)).any(1).float()
    return logits[:, None], has_mask
