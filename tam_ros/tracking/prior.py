# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Dense prompt prior: clicks and boxes drawn as a coarse mask prompt.

The small bundled model was trained with this mask beside the sparse tokens: they alone did not
teach it where to look in the time it had. The official models do not use it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

INSIDE, OUTSIDE = 3.0, -10.0  # logits
CLICK_SIGMA = 0.07  # of the image's side


def draw_prior(
    points: NDArray[np.float32], labels: NDArray[np.int64], size: int
) -> NDArray[np.float32] | None:
    """Draw a prompt.

    Args:
        points: [P, 2], (x, y) as fractions of the image, 0..1.
        labels: [P]: 0, 1, or 2 and 3 for a box.
        size: side of the mask, pixels.

    Returns:
        Logits [size, size]: `INSIDE` in a box, or a Gaussian bump around each positive click,
        `OUTSIDE` elsewhere. Negative clicks leave no trace. None if nothing was drawn.
    """
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    corners = points[labels >= 2]
    clicks = points[labels == 1]
    if len(corners):
        (x0, y0), (x1, y1) = corners
        columns = (centre >= x0) & (centre <= x1)
        rows = (centre >= y0) & (centre <= y1)
        bump = (rows[:, None] & columns[None]).astype(np.float32)
    elif len(clicks):
        distance = (centre[None, :, None] - clicks[:, None, None, 1]) ** 2 + (
            centre[None, None, :] - clicks[:, None, None, 0]
        ) ** 2
        bump = np.exp(-distance / (2 * CLICK_SIGMA**2)).max(0).astype(np.float32)
    else:
        return None
    return OUTSIDE + (INSIDE - OUTSIDE) * bump
