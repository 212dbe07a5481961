# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The contract between image mode and a model: encode an image once, decode many prompts on it.

H and W are the sides of the image in pixels, M that of the masks that the network predicts, B is a
number of prompts that are decoded together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.closing import Closing
from tam_ros.runtime.base import Floats, Handle

CANDIDATES = 4
"""Masks that a decoder of the SAM family proposes for each prompt: number 0 for prompts that are
clear, 1 to 3 for those that may mean a whole, a part or a part of a part (arXiv 2304.02643)."""


LOGIT_LIMIT = 32.0
"""Logits of an earlier prediction are clipped to +-this before they are fed back."""


class Embedding(NamedTuple):
    """An encoded image.

    Attributes:
        handle: belongs to the model, which may keep it on a device.
        size: (height, width) of the image, pixels.
    """

    handle: Handle
    size: tuple[int, int]


class PromptBatch(NamedTuple):
    """Prompts that are decoded together, all with the same number of points.

    Attributes:
        points: float32 [B, P, 2], (x, y) in pixels of the image; P may be 0.
        labels: int64 [B, P]: 1 on the object, 0 off it, 2 and 3 the corners of a box.
        masks: float32 [B, M, M], logits of an earlier prediction to be refined; None: none.
    """

    points: Floats
    labels: NDArray[np.int64]
    masks: Floats | None = None


class Decoded(NamedTuple):
    """The candidate masks of each prompt.

    Attributes:
        logits: float32 [B, 4, M, M].
        ious: predicted IoU, float32 [B, 4].
    """

    logits: Floats
    ious: Floats


class PromptableModel(Closing):
    """A model of the SAM family, loaded and ready; used from one thread.

    Attributes:
        name: catalogue name.
        runtime: name of the backend.
        weights: description of the weights for users; starts with `untrained` if they are.
        info: facts about what runs, for users, by name.
        mask_size: M.
        max_points: points of one prompt at most; a box counts as two.
    """

    name: str
    runtime: str
    weights: str
    info: Mapping[str, str] = MappingProxyType({})
    mask_size: int
    max_points: int

    @abstractmethod
    def encode(self, image: NDArray[np.uint8]) -> Embedding:
        """Encode an RGB image, uint8 [H, W, 3]."""

    @abstractmethod
    def decode(self, embedding: Embedding, prompts: PromptBatch) -> Decoded:
        """Predict the candidate masks of each prompt."""

    @abstractmethod
    def choose(self, decoded: Decoded) -> NDArray[np.intp]:
        """Return which candidate to show where a single mask is wanted, [B]."""

    def quality(self, decoded: Decoded) -> Floats:
        """Return by what the candidates are compared with each other, [B, 4]: predicted IoU."""
        return decoded.ious

    @abstractmethod
    def enlarge(self, logits: Floats, size: tuple[int, int]) -> Floats:
        """Resize mask logits [M, M] to an image of `size` (height, width)."""

    @abstractmethod
    def shrink(self, mask: NDArray[np.bool_]) -> Floats:
        """Return the logits [M, M] of a mask of the image [H, W], to be refined."""
