# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompt denoising and key smoothing of MaskCLIP (Zhou et al., arXiv 2112.01071, section 3.2)."""

from __future__ import annotations

import numpy as np

from tam_ros.language.arrays import Floats

SCALE = 100.0  # of cosine similarities before a softmax, as CLIP was trained
ABSENT = -100.0  # score of a text that prompt denoising has removed


def softmax(scores: Floats) -> Floats:
    """Softmax over the first axis."""
    raised = np.exp(scores - scores.max(axis=0, keepdims=True))
    return np.asarray(raised / raised.sum(axis=0, keepdims=True), np.float32)


def refine(
    scores: Floats, keys: Floats, prompt_denoising: float = 0.0, key_smoothing: float = 0.0
) -> Floats:
    """Refine the scores of texts.

    Args:
        scores: float32 [T, h, w], cosine similarities.
        keys: float32 [h * w, W].
        prompt_denoising: texts whose probability is nowhere this high are removed; 0: none.
        key_smoothing: places where no text has a probability this high get the probabilities of
            places with similar keys, added up; 0: none.

    Returns:
        float32 [T, h, w]: cosine similarities, or probabilities after key smoothing. Smoothed
        ones are sums that were not divided, as in the repository of MaskCLIP: their largest says
        which text, but not how likely it is.
    """
    flat = scores.reshape(len(scores), -1)
    if prompt_denoising > 0:
        likely = softmax(SCALE * flat).max(axis=1)
        flat = np.where(likely[:, None] < prompt_denoising, np.float32(ABSENT), flat)
    if key_smoothing > 0:
        flat = softmax(SCALE * flat)
        unsure = flat.max(axis=0) < key_smoothing
        # Each channel is normalised over the places, as in the repository.
        length = np.linalg.norm(keys, axis=0, keepdims=True)
        keys = keys / np.maximum(length, 1e-12)
        # (k k^T) p as k (k^T p), which needs no matrix of places by places.
        smoothed = ((flat @ keys) @ keys.T)[:, unsure]
        flat = flat.copy()
        flat[:, unsure] = smoothed
    return np.asarray(flat, np.float32).reshape(scores.shape)
