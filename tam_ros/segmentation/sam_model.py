# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Models of SAM's own kind in image mode, such as EdgeSAM: an image encoder and a mask decoder.

In contrast to SAM 2, the longest side of the image becomes that of the network input and the rest
is padding, a box is not followed by the padding token, and the predicted IoU of EdgeSAM was not
trained, so masks are compared by their stability, as its authors advise.

H and W are the sides of the image in pixels, R that of the network input, M = R / 4 that of its
masks, B a number of prompts.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tam_ros.model_files import ABSENT, PADDING, SEGMENTER, WeightsError
from tam_ros.runtime.base import Floats, LoadedGraphs
from tam_ros.segmentation.base import Decoded, Embedding, PromptableModel, PromptBatch
from tam_ros.segmentation.stability import stability_of
from tam_ros.tracking.prompts import mask_to_logits

MEAN = np.array((123.675, 116.28, 103.53), np.float32)  # of RGB
STD = np.array((58.395, 57.12, 57.375), np.float32)
_BOX = 2  # label of the first corner


class SamModel(PromptableModel):
    """Image mode on the graphs `image_encoder` and `mask_decoder`."""

    def __init__(self, graphs: LoadedGraphs, runtime: str) -> None:
        """Use loaded graphs, which are closed with the model.

        Args:
            graphs: of a model of the kind `segmenter`.
            runtime: name of the backend.

        Raises:
            WeightsError: they are of another model; they are closed.
        """
        spec = graphs.spec
        if spec.kind != SEGMENTER:
            graphs.close()
            raise WeightsError(f'{spec.name} is a {spec.kind}, not a {SEGMENTER}')
        self._graphs = graphs
        self._image_size = spec.graph('image_encoder').inputs[0].shape[-1]
        shapes = {one.name: one.shape for one in spec.graph('mask_decoder').inputs}
        self._tokens = shapes['points'][0]
        self.name = spec.name
        self.runtime = runtime
        self.weights = spec.weights
        self.info = graphs.info
        self.mask_size = shapes['mask'][-1]
        self.max_points = self._tokens - 1  # one is the padding token

    def encode(self, image: NDArray[np.uint8]) -> Embedding:
        """Encode an RGB image, uint8 [H, W, 3]."""
        pixels = network_input(image, self._image_size)
        found = self._graphs.sessions['image_encoder'].run({'image': pixels})
        return Embedding(found['features'], image.shape[:2])

    def decode(self, embedding: Embedding, prompts: PromptBatch) -> Decoded:
        """Predict the candidate masks of each prompt."""
        batch, count = prompts.labels.shape
        points = np.zeros((batch, self._tokens, 2), np.float32)
        labels = np.full((batch, self._tokens), ABSENT, np.int64)
        height, width = fitted_size(embedding.size, self._image_size)
        scale = np.array((width / embedding.size[1], height / embedding.size[0]))
        points[:, :count] = prompts.points * scale
        labels[:, :count] = prompts.labels
        # A mask alone has no point token at all, a box no padding token.
        clicks_only = (prompts.labels < _BOX).all(axis=1)
        if count:
            labels[clicks_only, count] = PADDING
        side = self.mask_size
        mask = np.zeros((batch, 1, side, side), np.float32)
        if prompts.masks is not None:
            mask[:, 0] = prompts.masks
        has_mask = np.full(batch, float(prompts.masks is not None), np.float32)
        found = self._graphs.sessions['mask_decoder'].run(
            {
                'features': embedding.handle,
                'points': points,
                'labels': labels,
                'mask': mask,
                'has_mask': has_mask,
            }
        )
        return Decoded(found['masks'], found['ious'])

    def choose(self, decoded: Decoded) -> NDArray[np.intp]:
        """Choose candidate 0, that for clear prompts."""
        return np.zeros(len(decoded.ious), np.intp)

    def quality(self, decoded: Decoded) -> Floats:
        """Return the stability of each candidate."""
        return np.array(
            [[stability_of(one) for one in candidates] for candidates in decoded.logits],
            np.float32,
        )

    def enlarge(self, logits: Floats, size: tuple[int, int]) -> Floats:
        """Resize mask logits [M, M] to the network input, cut the padding off, then to the image.

        Both are bilinear, as in the official code.
        """
        side = self._image_size
        height, width = fitted_size(size, side)
        whole = cv2.resize(logits, (side, side), interpolation=cv2.INTER_LINEAR)
        fitted = np.ascontiguousarray(whole[:height, :width])
        enlarged = cv2.resize(fitted, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(enlarged, np.float32)

    def shrink(self, mask: NDArray[np.bool_]) -> Floats:
        """Return the logits [M, M] of a mask of the image [H, W]."""
        height, width = fitted_size(mask.shape, self._image_size)
        fitted = Image.fromarray(mask.astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        whole = np.zeros((self._image_size, self._image_size), bool)
        whole[:height, :width] = np.asarray(fitted) >= 0.5
        return mask_to_logits(whole, self.mask_size)

    def close(self) -> None:
        """Release the device memory of the graphs."""
        self._graphs.close()


def fitted_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return height and width of an image whose longest side is scaled to `side`, pixels."""
    scale = side / max(size)
    height, width = (max(1, int(one * scale + 0.5)) for one in size)
    return height, width


def network_input(image: NDArray[np.uint8], side: int) -> Floats:
    """Return an RGB image [H, W, 3] as network input [1, 3, side, side].

    It is resized to 8 bits by PIL, bilinear and antialiased, normalised, and padded with zeros at
    the bottom and right, as in the official code.
    """
    height, width = fitted_size(image.shape[:2], side)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    pixels = (np.asarray(resized, np.float32) - MEAN) / STD
    padded = np.zeros((1, 3, side, side), np.float32)
    padded[0, :, :height, :width] = pixels.transpose(2, 0, 1)
    return padded
