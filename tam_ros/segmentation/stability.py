# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""How little a mask depends on its threshold, as the official mask generator measures it."""

from __future__ import annotations

import numpy as np

from tam_ros.runtime.base import Floats

OFFSET = 1.0  # logits above and below the threshold, which is 0


def stability_of(logits: Floats) -> float:
    """Return area(> 1) / area(> -1) of mask logits [H, W]; 0 if both are empty."""
    outer = np.count_nonzero(logits > -OFFSET)
    return float(np.count_nonzero(logits > OFFSET) / outer) if outer else 0.0
