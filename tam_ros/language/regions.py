# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From the scores of texts to prompts: boxes and inner points of connected regions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.language.arrays import Floats
from tam_ros.language.refinement import SCALE

QUARTILE = 25  # percent of the image that is taken not to show what a text says


@dataclass(frozen=True)
class Find:
    """A region that shows what a text says.

    Attributes:
        text: index of the text.
        box: x0, y0, x1, y1 of its edges, pixels.
        point: x, y inside it, farthest from its outline, pixels.
        score: mean probability of the text in the region.
        area: pixels of the region.
    """

    text: int
    box: tuple[float, float, float, float]
    point: tuple[float, float]
    score: float
    area: int


class Finds(list[Find]):
    """Regions, the best one first.

    Attributes:
        likely: float32 [T], the highest probability that each text has anywhere.
        threshold: what it would need.
    """

    def __init__(self, finds: list[Find], likely: Floats, threshold: float) -> None:
        """Keep the regions and the highest probabilities."""
        super().__init__(finds)
        self.likely = likely
        self.threshold = threshold

    def reason(self, text: int, name: str) -> str:
        """Return why nothing was found for a text, for users; empty if something was."""
        if any(find.text == text for find in self):
            return ''
        if self.likely[text] > self.threshold:
            return f'{name!r} may be there, but nothing that is large enough'
        return (
            f'nothing here looks like {name!r}: its best place has '
            f'{self.likely[text]:.0%}, and needs more than {self.threshold:.0%}'
        )


def probabilities(scores: Floats, texts: int, contrast: float) -> Floats:
    """Return how probable each text is at each place.

    A text competes with all others, with the background texts, and with the image itself: with an
    unnamed text whose similarity is everywhere what this text has in the least similar quarter of
    the image, plus `contrast`. Without the last one, a word for something that is not in the image
    would be found wherever the other words fit even less. Its level follows from the image,
    because the similarities of a CLIP have another level for each text and each model.

    Args:
        scores: float32 [T + background, h, w], cosine similarities.
        texts: T.
        contrast: difference of similarities.

    Returns:
        float32 [T, h, w], 0 to 1.
    """
    levels = SCALE * scores
    highest = levels.max(axis=0)
    everything = np.exp(levels - highest).sum(axis=0)
    quiet = np.percentile(levels[:texts], QUARTILE, axis=(1, 2), keepdims=True)
    # At most as large as the square of the largest float32.
    image = np.exp(np.minimum(quiet + SCALE * contrast - highest, 80.0))
    own = np.exp(levels[:texts] - highest)
    return np.asarray(own / (everything + image), np.float32)


def find_regions(
    likely: Floats,
    size: tuple[int, int],
    covered: tuple[float, float] = (1.0, 1.0),
    threshold: float = 0.5,
    most: int = 10,
) -> Finds:
    """Return the connected regions in which a text is probable.

    Args:
        likely: float32 [T, h, w], see `probabilities`.
        size: height and width of the image, pixels.
        covered: parts of the map's height and width that the image covers.
        threshold: probability, 0 to 1. From 0.5 on, regions of two texts cannot overlap.
        most: regions to return.

    Returns:
        Regions of at least half the area of a place in the map.
    """
    height, width = size
    rows, columns = likely.shape[1:]
    # The map in pixels of the image; it may end outside it.
    full = (max(height, round(height / covered[0])), max(width, round(width / covered[1])))
    least = max(1.0, full[0] * full[1] / (rows * columns) / 2)
    finds = []
    for text, one in enumerate(likely):
        if not one.max() > threshold:
            continue
        map_ = cv2.resize(one, full[::-1], interpolation=cv2.INTER_LINEAR)[:height, :width]
        count, labels, about, _ = cv2.connectedComponentsWithStats(
            (map_ > threshold).astype(np.uint8), connectivity=4
        )
        for label in range(1, count):
            x, y, w, h, area = (int(value) for value in about[label])
            if area < least:
                continue
            inside = labels[y : y + h, x : x + w] == label
            finds.append(
                Find(
                    text=text,
                    box=(float(x), float(y), float(x + w), float(y + h)),
                    point=_inner_point(inside, x, y),
                    score=float(map_[y : y + h, x : x + w][inside].mean()),
                    area=area,
                )
            )
    finds.sort(key=lambda find: -find.score)
    peaks = likely.reshape(len(likely), -1).max(axis=1)
    return Finds(finds[:most], np.asarray(peaks, np.float32), threshold)


def _inner_point(inside: NDArray[np.bool_], x: int, y: int) -> tuple[float, float]:
    """Return the centre of the pixel that is farthest from the outline of a region."""
    padded = np.pad(inside.astype(np.uint8), 1)  # the image's edge is an outline as well
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(x + column - 1) + 0.5, float(y + row - 1) + 0.5
