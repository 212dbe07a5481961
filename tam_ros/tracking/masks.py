# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on masks that the official predictor does outside its network (numpy, OpenCV)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

NO_OBJECT = -1024.0  # mask logit of an object that is not in the picture
STABILITY_DELTA = 0.05  # logits at +-delta delimit the area that decides the stability
STABILITY_THRESHOLD = 0.98
MASK_PROMPT_LOGIT = 10.0  # a mask given by the user becomes logits of +-10
PREVIOUS_LOGIT_LIMIT = 32.0  # logits fed back as mask prompt are clipped to +-this


class Chosen(NamedTuple):
    """One mask per object out of the decoder's candidates.

    Attributes:
        masks: logits [B, M, M].
        ious: predicted IoU [B].
        scores: logit of the object being in the picture [B].
        pointers: object pointer [B, C].
    """

    masks: Floats
    ious: Floats
    scores: Floats
    pointers: Floats


def stability(logits: Floats) -> Floats:
    """Return area(> 0.05) / area(> -0.05) of mask logits [B, M, M] as [B]; 1 if both are empty."""
    inner = (logits > STABILITY_DELTA).sum((-2, -1))
    outer = (logits > -STABILITY_DELTA).sum((-2, -1))
    return np.where(outer > 0, inner / np.maximum(outer, 1), 1.0).astype(np.float32)


def choose(
    masks: Floats, ious: Floats, scores: Floats, pointers: Floats, multimask: Bools
) -> Chosen:
    """Choose one candidate per object as the official predictor does.

    Args:
        masks: logits of the candidates [B, 4, M, M].
        ious: predicted IoU of each [B, 4].
        scores: object score logits [B, 1].
        pointers: object pointer of each candidate [B, 4, C].
        multimask: [B]; true (no prompt, or one click): the best of candidates 1-3 by IoU. False:
            candidate 0 if it is stable, else the best of 1-3; the pointer stays that of 0 then,
            a quirk the checkpoints were trained with.

    Returns:
        The chosen masks, all `NO_OBJECT` where the score is not positive.
    """
    rows = np.arange(len(masks))
    best = 1 + ious[:, 1:].argmax(1)
    stable = stability(masks[:, 0]) >= STABILITY_THRESHOLD
    shown = np.where(multimask | ~stable, best, 0)
    pointed = np.where(multimask, best, 0)
    present = scores[:, 0] > 0
    chosen = np.where(present[:, None, None], masks[rows, shown], np.float32(NO_OBJECT))
    return Chosen(
        chosen.astype(np.float32, copy=False),
        ious[rows, shown],
        scores[:, 0],
        pointers[rows, pointed],
    )


@lru_cache(maxsize=16)
def _triangle_weights(inputs: int, outputs: int) -> NDArray[np.float64]:
    """Return the matrix [outputs, inputs] of an antialiased linear resize along one axis."""
    scale = inputs / outputs
    support = max(scale, 1.0)
    centre = (np.arange(outputs) + 0.5) * scale
    distance = np.abs(np.arange(inputs)[None] + 0.5 - centre[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(1, keepdims=True)


def resize_antialiased(image: Floats, height: int, width: int) -> Floats:
    """Resize [H, W] by the triangle filter that widens when shrinking, in float32.

    The same numbers as `torch.nn.functional.interpolate(antialias=True, mode='bilinear')`;
    OpenCV's linear resize does not widen its filter, its area resize is a box.
    """
    rows = _triangle_weights(image.shape[0], height)
    columns = _triangle_weights(image.shape[1], width)
    return (rows @ image @ columns.T).astype(np.float32)


def fit_mask(mask: Bools, size: int) -> Bools:
    """Bring a mask of the image [H, W] to the square network input [size, size]."""
    if mask.shape == (size, size):
        return mask
    return resize_antialiased(mask.astype(np.float32), size, size) >= 0.5


def mask_to_logits(mask: Bools, size: int) -> Floats:
    """Turn a mask [R, R] into low-resolution logits [size, size] in -10..10."""
    logits = np.where(mask, np.float32(MASK_PROMPT_LOGIT), np.float32(-MASK_PROMPT_LOGIT))
    return resize_antialiased(logits, size, size)


def downsample_mask(mask: Bools, weight: Floats, bias: float) -> Floats:
    """Apply the learned 4x4 convolution of stride 4 to a mask [R, R]: [R / 4, R / 4].

    It belongs to the network, but 17 numbers on a prompted frame are not worth a graph.
    """
    side = mask.shape[0] // 4
    blocks = mask.astype(np.float32).reshape(side, 4, side, 4)
    return (np.einsum('aibj,ij->ab', blocks, weight) + bias).astype(np.float32)


def enlarge(logits: Floats, height: int, width: int) -> Floats:
    """Bring low-resolution logits [M, M] to the image [height, width], bilinear."""
    return cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)


def bounding_box(mask: Bools) -> tuple[int, int, int, int] | None:
    """Return (x0, y0, x1, y1) of a mask [H, W], x1 and y1 exclusive; None if it is empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (x, y, x + width, y + height) if width else None


def centroid(mask: Bools) -> tuple[float, float] | None:
    """Return the mean (x, y) of a mask [H, W] in pixels; None if it is empty."""
    box = bounding_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    # Of its box alone: those of a whole 1280x720 image take most of a millisecond.
    moments = cv2.moments(mask.view(np.uint8)[y0:y1, x0:x1], binaryImage=True)
    area = moments['m00']
    return x0 + moments['m10'] / area, y0 + moments['m01'] / area


def label_image(
    ids: list[int], logits: list[Floats], height: int, width: int
) -> NDArray[np.uint16]:
    """Merge masks that may overlap: each pixel goes to the object with the largest logit.

    Args:
        ids: of the objects, 1..65535.
        logits: of each object at image size [height, width]; positive is inside.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        uint16 [height, width], 0 where no logit is positive.
    """
    labels = np.zeros((height, width), np.uint16)
    if not ids:
        return labels
    if len(ids) == 1:
        labels[logits[0] > 0] = ids[0]
        return labels
    highest = np.zeros((height, width), np.float32)
    for number, logit in zip(ids, logits, strict=True):
        wins = logit > highest
        labels[wins] = number
        np.copyto(highest, logit, where=wins)
    return labels
