# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The candidates of the mask decoder become one mask per object.

M is the side of a predicted mask, B is a number of objects, C = `spec.dim`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Floats

NO_OBJECT = -1024.0  # mask logit of an object that is not in the image
STABILITY_DELTA = 0.05  # mask logits that bound the two areas compared by `stability`
STABILITY_THRESHOLD = 0.98


class MaskPrediction(NamedTuple):
    """What the model predicts for one object on one image.

    Attributes:
        logits: logits of the mask [M, M]; `NO_OBJECT` everywhere if the object is not in the
            image.
        score: logit of the object being in the image.
        pointer: object pointer [C].
        predicted_iou: predicted IoU of the mask; 1 for the mask of a prompt.
    """

    logits: Floats
    score: float
    pointer: Floats
    predicted_iou: float = 1.0

    @property
    def present(self) -> bool:
        """Whether the object is in the image and its mask is not empty."""
        return self.score > 0 and bool((self.logits > 0).any())

    def hidden(self) -> MaskPrediction:
        """Return the prediction without its mask, and as unsure whether the object is there."""
        return self._replace(
            logits=np.full_like(self.logits, NO_OBJECT), score=min(self.score, 0.0)
        )


class ChosenMasks(NamedTuple):
    """One mask per object, chosen from the candidates of the mask decoder.

    Attributes:
        masks: logits [B, M, M].
        ious: predicted IoU [B].
        scores: logits of the objects being in the image [B].
        pointers: object pointers [B, C].
    """

    masks: Floats
    ious: Floats
    scores: Floats
    pointers: Floats

    def predictions(self) -> list[MaskPrediction]:
        """Split the batch into objects."""
        return [
            MaskPrediction(logits, float(score), pointer, float(iou))
            for logits, score, pointer, iou in zip(
                self.masks, self.scores, self.pointers, self.ious, strict=True
            )
        ]


def choose_masks(
    masks: Floats,
    ious: Floats,
    scores: Floats,
    pointers: Floats,
    multimask: NDArray[np.bool_],
) -> ChosenMasks:
    """Choose one of the four candidate masks of each object, as the official predictor does.

    Args:
        masks: logits of the candidates [B, 4, M, M].
        ious: predicted IoU of each [B, 4].
        scores: logits of the objects being in the image [B, 1].
        pointers: object pointer of each candidate [B, 4, C].
        multimask: [B]. True (no prompt, or one click): the best of candidates 1-3 by predicted
            IoU. False: candidate 0 if it is stable, else the best of 1-3. The pointer is that of
            candidate 0 even then, as it was when the checkpoints were trained.

    Returns:
        The chosen masks; `NO_OBJECT` everywhere where the score is not positive.
    """
    rows = np.arange(len(masks))
    best = 1 + ious[:, 1:].argmax(1)
    stable = stability(masks[:, 0]) >= STABILITY_THRESHOLD
    mask_index = np.where(multimask | ~stable, best, 0)
    pointer_index = np.where(multimask, best, 0)
    present = scores[:, 0] > 0
    chosen = np.where(present[:, None, None], masks[rows, mask_index], np.float32(NO_OBJECT))
    return ChosenMasks(
        chosen.astype(np.float32, copy=False),
        ious[rows, mask_index],
        scores[:, 0],
        pointers[rows, pointer_index],
    )


def stability(logits: Floats) -> Floats:
    """Return area(> 0.05) / area(> -0.05) of mask logits [B, M, M] as [B]; 1 if both are empty."""
    inner = (logits > STABILITY_DELTA).sum((-2, -1))
    outer = (logits > -STABILITY_DELTA).sum((-2, -1))
    return np.where(outer > 0, inner / np.maximum(outer, 1), 1.0).astype(np.float32)
