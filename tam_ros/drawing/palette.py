# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fixed colours of object ids: the same object has the same colour in every picture we draw."""

from __future__ import annotations

import numpy as np

# Chosen to differ in hue and in lightness, so that neighbours stay apart for colour-blind eyes:
# after the first, the colours of Okabe and Ito, "Color Universal Design".
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
    """Return the RGB colour of an object id, 1 or more. Colours repeat after twelve ids."""
    red, green, blue = _COLOURS[(object_id - 1) % len(_COLOURS)].tolist()
    return red, green, blue


def colourize(labels: np.ndarray) -> np.ndarray:
    """Return uint8 RGB [H, W, 3] for a label image [H, W] of any integer type; 0 becomes black."""
    colours = _COLOURS[(labels.astype(np.int32) - 1) % len(_COLOURS)]
    colours[labels == 0] = 0
    return colours


def voc_palette() -> np.ndarray:
    """Return the 256 colours, uint8 RGB [256, 3], of the index images of PASCAL VOC and DAVIS.

    The bits of the index, three at a time from the lowest, are the bits of red, green and blue
    from the highest: https://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
    """
    index = np.arange(256)
    channels = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (index >> (3 * place + channel)) & 1
            channels[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return channels
