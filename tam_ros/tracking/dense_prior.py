# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Dense prompt prior: clicks and boxes drawn as a coarse mask prompt.

The bundled nano model was trained with this mask in addition to the point tokens: with the tokens
alone it did not learn where to look in its training time. The official models do not use it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

INSIDE, OUTSIDE = 3.0, -10.0  # logits
CLICK_SIGMA = 0.07  # of the image's side


def draw_prior(
    points: NDArray[np.float32], labels: NDArray[np.int64], size: int
) -> NDArray[np.float32] | None:
    """Draw clicks or a box as mask logits.

    Args:
        points: [P, 2], (x, y) as fractions of the image, 0..1.
        labels: [P], see `Prompt.labels`.
        size: side of the mask, pixels.

    Returns:
        Logits [size, size]: `INSIDE` in the box, or a Gaussian around each positive click;
        `OUTSIDE` elsewhere. Negative clicks are not drawn. None if there is nothing to draw.
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
    logits: NDArray[np.float32] = OUTSIDE + (INSIDE - OUTSIDE) * bump
    return logits
