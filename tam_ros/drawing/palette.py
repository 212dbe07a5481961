# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Colours of object ids: an object has the same colour in everything we draw."""

from __future__ import annotations

import numpy as np

# They differ in hue and in lightness, so that colour-blind users can distinguish neighbours. After
# the first, these are the colours of Okabe and Ito, "Color Universal Design", and four more.
_COLOURS = np.array(
    [
        (84, 230, 100),
        (86, 180, 233),
        (230, 159, 0),
        (240, 228, 66),
        (204, 121, 167),
        (213, 94, 0),
        (0, 114, 178),
        (0, 158, 115),
        (166, 97, 240),
        (255, 128, 128),
        (64, 224, 208),
        (160, 120, 90),
    ],
    np.uint8,
)


def colour(object_id: int) -> tuple[int, int, int]:
    """Return the RGB colour of an object id from 1. The colours repeat after twelve ids."""
    red, green, blue = _COLOURS[(object_id - 1) % len(_COLOURS)].tolist()
    return red, green, blue
