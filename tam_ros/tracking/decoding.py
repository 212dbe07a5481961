# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From prompts to decoder inputs and from its candidates to one mask per object."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.model_files import ABSENT, PADDING
from tam_ros.runtime.base import Features, Floats, Handle, PromptTokens, Runtime
from tam_ros.tracking import masks
from tam_ros.tracking.masks import Chosen
from tam_ros.tracking.prior import draw_prior
from tam_ros.tracking.prompts import Prompt


class Decision(NamedTuple):
    """The model's word on one object on one frame.

    Attributes:
        logits: mask [M, M]; -1024 everywhere if the object is absent.
        score: logit of its presence.
        pointer: object pointer [C].
    """

    logits: Floats
    score: float
    pointer: Floats

    @property
    def present(self) -> bool:
        """Whether the object is in the picture and shows at least one pixel of the mask."""
        return self.score > 0 and bool((self.logits > 0).any())


def as_decisions(chosen: Chosen) -> list[Decision]:
    """Split a batch."""
    return [
        Decision(logits, float(score), pointer)
        for logits, score, pointer in zip(
            chosen.masks, chosen.scores, chosen.pointers, strict=True
        )
    ]


class Decoder:
    """Runs the mask decoder as the official predictor does for each kind of frame."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._spec = runtime.spec

    def track(self, features: Features, conditioned: Handle, objects: int) -> Chosen:
        """Decode a frame without prompts for a batch of objects.

        No prompt is a "not a point" token, and SAM's padding is a second one.
        """
        labels = np.full((objects, self._spec.point_tokens), ABSENT, np.int64)
        labels[:, :2] = PADDING
        points = np.zeros((*labels.shape, 2), np.float32)
        size = self._spec.mask_size
        tokens = PromptTokens(
            points,
            labels,
            np.zeros((objects, 1, size, size), np.float32),
            np.zeros(objects, np.float32),
        )
        candidates = self._runtime.mask_decoder(features, conditioned, tokens)
        return masks.choose(*candidates, np.ones(objects, bool))

    def prompt(
        self,
        prompts: list[Prompt],
        features: Features,
        source: Handle,
        previous: Decision | None,
        size: tuple[int, int],
    ) -> Decision:
        """Apply the prompts of one object in order.

        Args:
            prompts: of the object, at least one.
            features: of the frame.
            source: conditioned features of the object, or those without memory for a new one.
            previous: the object's decision on this frame so far, None for a new one.
            size: (height, width) of the image.
        """
        points = np.zeros((0, 2), np.float32)
        labels = np.zeros(0, np.int64)
        for prompt in prompts:
            if prompt.mask_image is not None:
                previous = self._mask(prompt.mask_image, features)
                points, labels = points[:0], labels[:0]
                continue
            if (prompt.labels >= 2).any():  # a box begins anew, as in the official predictor
                points, labels = points[:0], labels[:0]
            points = np.concatenate((points, prompt.points_xy))
            labels = np.concatenate((labels, prompt.labels))
            previous = self._points(points, labels, features, source, previous, size)
        assert previous is not None
        return previous

    def _points(
        self,
        points: Floats,
        labels: NDArray[np.int64],
        features: Features,
        source: Handle,
        previous: Decision | None,
        size: tuple[int, int],
    ) -> Decision:
        spec = self._spec
        fractions = points / np.array((size[1], size[0]), np.float32)
        mask = None
        if previous is not None:
            limit = masks.PREVIOUS_LOGIT_LIMIT
            mask = previous.logits.clip(-limit, limit)
        elif spec.dense_prompt_prior:
            mask = draw_prior(fractions, labels, spec.mask_size)
        xy = np.zeros((1, spec.point_tokens, 2), np.float32)
        kinds = np.full((1, spec.point_tokens), ABSENT, np.int64)
        xy[0, : len(points)] = fractions * spec.image_size
        kinds[0, : len(points)] = labels
        kinds[0, len(points)] = PADDING
        return self._decode(features, source, xy, kinds, mask, multimask=len(points) <= 1)

    def _mask(self, mask: NDArray[np.bool_], features: Features) -> Decision:
        """Take a mask as it is; only the object pointer comes from the network."""
        spec = self._spec
        fitted = masks.fit_mask(mask, spec.image_size)
        prompt = masks.downsample_mask(
            fitted,
            np.array(spec.mask_downsample_weight, np.float32).reshape(4, 4),
            spec.mask_downsample_bias,
        )
        labels = np.full((1, spec.point_tokens), ABSENT, np.int64)
        labels[:, :2] = PADDING
        points = np.zeros((1, spec.point_tokens, 2), np.float32)
        decided = self._decode(features, features.raw, points, labels, prompt, multimask=False)
        return Decision(
            masks.mask_to_logits(fitted, spec.mask_size), masks.MASK_PROMPT_LOGIT, decided.pointer
        )

    def _decode(
        self,
        features: Features,
        source: Handle,
        points: Floats,
        labels: NDArray[np.int64],
        mask: Floats | None,
        multimask: bool,
    ) -> Decision:
        size = self._spec.mask_size
        given = np.zeros((1, 1, size, size), np.float32) if mask is None else mask[None, None]
        tokens = PromptTokens(points, labels, given, np.array([mask is not None], np.float32))
        candidates = self._runtime.mask_decoder(features, source, tokens)
        return as_decisions(masks.choose(*candidates, np.array([multimask])))[0]
