# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Scores on held-out clips during training."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from tam_ros.models.efficienttam import EfficientTAM
from training.clips import Batch, ClipStore, promptable, resize
from training.streaming import Unroll


def intersection_over_union(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return J of masks bool [..., H, W]; 1 if both are empty."""
    union = (guess | truth).sum((-2, -1))
    return np.where(union > 0, (guess & truth).sum((-2, -1)) / np.maximum(union, 1), 1.0)


@torch.no_grad()
def validate(
    model: EfficientTAM, folder: Path, device: torch.device, clips: int = 8, frames: int = 8
) -> dict[str, float]:
    """Return the mean J at the decoder's resolution on the first held-out clips.

    Returns:
        For each prompt kind the J of frames 1.. ('mask', 'box', 'click'), and for boxes and
        clicks the J of frame 0 ('box_0', 'click_0'). Empty without held-out clips.
    """
    try:
        store = ClipStore(folder, 'val')
    except FileNotFoundError:
        return {}
    scores: dict[str, list[float]] = defaultdict(list)
    unroll = Unroll(model, jitter=0.0)
    for number in range(min(clips, len(store))):
        images, labels = (x[:frames] for x in store.clip(number))
        images, labels = resize(images, labels, model.config.image_size)
        values = promptable(labels[0])
        masks = torch.from_numpy(np.stack([labels == value for value in values]))
        batch = Batch(
            torch.tensor(images)[None], masks, torch.zeros(len(values), dtype=torch.int64)
        ).to(device)
        features = unroll.encode(batch.images)
        truth = masks.numpy()[..., 2::4, 2::4]
        for kind in ('mask', 'box', 'click'):
            outcome = unroll.track(
                batch, kind, np.random.default_rng(0), features=features, keep=True
            )
            assert outcome.masks is not None
            j = intersection_over_union(outcome.masks.cpu().numpy() > 0, truth)
            scores[kind] += j[:, 1:].mean(1).tolist()
            if kind != 'mask':
                scores[f'{kind}_0'] += j[:, 0].tolist()
    return {name: float(np.mean(values)) for name, values in scores.items()}
