# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A tracker's model in image mode: its decoder on an image without memories.

The official SAM 2 image predictor does the same with the model of the video predictor. R is the
side of the network input in pixels, M = R / 4 that of its masks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tam_ros.model_files import ABSENT
from tam_ros.runtime.base import Features, Floats, PromptTokens, Runtime
from tam_ros.segmentation.base import Decoded, Embedding, PromptableModel, PromptBatch
from tam_ros.tracking import EncodedImage
from tam_ros.tracking.frame_result import enlarge
from tam_ros.tracking.mask_prediction import STABILITY_THRESHOLD, stability
from tam_ros.tracking.prompts import fit_mask, mask_to_logits, point_tokens


class TrackerModel(PromptableModel):
    """Image mode on the runtime of a tracker's model."""

    def __init__(self, runtime: Runtime) -> None:
        """Use a runtime whose storage is allocated; it is closed with the model."""
        self._runtime = runtime
        self._spec = runtime.spec
        self.name = runtime.spec.name
        self.runtime = runtime.name
        self.weights = runtime.spec.weights
        self.info = runtime.info
        self.mask_size = runtime.spec.mask_size
        self.max_points = runtime.spec.point_tokens - 1  # one is the padding token

    def encode(self, image: NDArray[np.uint8]) -> Embedding:
        """Encode an RGB image, uint8 [H, W, 3]."""
        resized = resize_image(image, self._spec.image_size)
        floats = self._runtime.float_images
        features = self._runtime.image_encoder(
            resized if floats else np.rint(resized).astype(np.uint8)
        )
        return Embedding(features, image.shape[:2])

    @staticmethod
    def of_tracked(image: EncodedImage) -> Embedding:
        """Return an image that a tracker of the same runtime has encoded."""
        return Embedding(image.features, image.size)

    def decode(self, embedding: Embedding, prompts: PromptBatch) -> Decoded:
        """Predict the candidate masks of each prompt."""
        features: Features = embedding.handle
        found = self._runtime.mask_decoder(
            features, features.without_memory, self._tokens(prompts, embedding.size)
        )
        return Decoded(found.masks, found.ious)

    def _tokens(self, prompts: PromptBatch, size: tuple[int, int]) -> PromptTokens:
        masks = prompts.masks
        rows = [
            point_tokens(points, labels, None if masks is None else masks[index], size, self._spec)
            for index, (points, labels) in enumerate(
                zip(prompts.points, prompts.labels, strict=True)
            )
        ]
        tokens = PromptTokens(*map(np.concatenate, zip(*rows, strict=True)))
        if not prompts.points.shape[1]:
            # A mask alone: the official image predictor gives the decoder no point token at all,
            # not even the padding.
            tokens.labels[:] = ABSENT
        return tokens

    def choose(self, decoded: Decoded) -> NDArray[np.intp]:
        """Choose candidate 0 if it is stable, else the best of the others by predicted IoU."""
        best = 1 + decoded.ious[:, 1:].argmax(1)
        return np.where(stability(decoded.logits[:, 0]) >= STABILITY_THRESHOLD, 0, best)

    def enlarge(self, logits: Floats, size: tuple[int, int]) -> Floats:
        """Resize mask logits [M, M] to the image, bilinear; its sides were not kept in ratio."""
        return enlarge(logits, *size)

    def shrink(self, mask: NDArray[np.bool_]) -> Floats:
        """Return the logits [M, M] of a mask of the image [H, W], those of a mask prompt."""
        return mask_to_logits(fit_mask(mask, self._spec.image_size), self.mask_size)

    def close(self) -> None:
        """Release the device memory of the runtime."""
        self._runtime.close()


def resize_image(image: NDArray[np.uint8], size: int) -> Floats:
    """Resize an RGB image [H, W, 3] to float32 [size, size, 3], bilinear and antialiased.

    The official image predictor resizes so, and its video loader otherwise (bicubic, 8 bits).
    """
    if image.shape[:2] == (size, size):
        return image.astype(np.float32)
    channels = [
        Image.fromarray(np.asarray(image[:, :, channel], np.float32)).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        for channel in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)
