# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How an image is prepared and scores are refined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tam_ros.language.arrays import Floats

# Of RGB in 0..1: CLIP's, with which it was trained, and ImageNet's, which MaskCLIP's code uses.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OFFICIAL_MEAN, OFFICIAL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BYTE = 255.0


@dataclass(frozen=True)
class DenseOptions:
    """How scores are computed.

    Attributes:
        prompt_denoising: texts that are nowhere at least this probable are left out, 0 to 1; the
            paper has 0.5. 0: none.
        key_smoothing: places where no text is at least this probable take their scores from places
            with similar keys, 0 to 1; the paper has 1. 0: none.
        official: compute as the repository of MaskCLIP does, with exact GELU, an epsilon of 1e-6
            and ImageNet's mean and deviation. CLIP was trained with none of them; for comparisons.
        resize: resize the image so that it is encoded at once at twice the resolution that the
            model was trained at. A number is the length of the shorter side, pixels. False: the
            image as it is, padded to whole places.
        window: side of windows in which larger images are encoded, pixels; None: only what does
            not fit is encoded in windows.
        mean: of red, green and blue, in 0..1 or in 0..255; None: as the model was trained.
        std: their standard deviations, in the same unit; None: as the model was trained.
    """

    prompt_denoising: float = 0.0
    key_smoothing: float = 0.0
    official: bool = False
    resize: bool | int = True
    window: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the values; ValueError says which is wrong."""
        for name in ('prompt_denoising', 'key_smoothing'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}, not in 0..1')
        if (self.mean is None) != (self.std is None):
            raise ValueError('mean and std are given together')
        for name, one in (('mean', self.mean), ('std', self.std)):
            if one is not None and (np.shape(one) != (3,) or not np.isfinite(one).all()):
                raise ValueError(f'{name} is {one}, not three numbers')
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f'std is {self.std}; deviations are above 0')
        for name in ('resize', 'window'):
            value = getattr(self, name)
            if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= 8192:
                raise ValueError(f'{name} is {value} pixels, not 1 to 8192')

    @property
    def normalisation(self) -> tuple[Floats, Floats]:
        """Mean and deviation of pixels in 0..255."""
        if self.mean is not None and self.std is not None:
            mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
            # Deviations of pixels in 0..1 are at most a half, of bytes they are tens.
            scale = _BYTE if std.max() <= 1 else 1.0
            return mean * np.float32(scale), std * np.float32(scale)
        known = (OFFICIAL_MEAN, OFFICIAL_STD) if self.official else (MEAN, STD)
        mean, std = np.float32(_BYTE) * np.array(known, np.float32)
        return mean, std
