# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Synthetic video for measuring time and memory: textured discs moving on a textured background.

It is not meant for measuring accuracy. The video is endless, its frames can be drawn in any order,
and each frame is the same every time.
"""

from __future__ import annotations

import cv2
import numpy as np

# Colours of the discs, before their texture is added.
_COLOURS = np.array(
    [(140, 0, 0), (0, 120, 20), (140, 120, 0), (0, 60, 140), (120, 0, 130), (0, 130, 130)],
    np.uint8,
)


class MovingDiscs:
    """Textured discs on closed paths.

    Attributes:
        objects: number of discs. Disc n has label n, from 1; later discs cover earlier ones.
        size: (height, width) of the image, pixels.
        area: area of a disc that is completely visible, pixels.
    """

    def __init__(
        self, objects: int, size: tuple[int, int] = (480, 640), reach: float = 0.8, seed: int = 0
    ) -> None:
        """Draw the textures and choose the paths.

        Args:
            objects: number of discs.
            size: (height, width) in pixels, at least 32.
            reach: amplitude of the paths as a fraction of half the image; discs leave the image
                at times if it is well above 1.
            seed: seed of the textures and paths.
        """
        if objects < 0 or min(size) < 32:
            raise ValueError(f'{objects} discs on {size[1]}x{size[0]} pixels cannot be drawn')
        self.objects, self.size = objects, size
        self._reach = reach
        rng = np.random.default_rng(seed)
        self._background = _texture(rng, size, 40, (60, 130))
        self._radius = max(6, round(min(size) / (5 + 0.5 * objects)))
        side = 2 * self._radius + 1
        self._textures = [
            _texture(rng, (side, side), self._radius // 2, (0, 110)) + colour
            for colour in _COLOURS[np.arange(objects) % len(_COLOURS)]
        ]
        y, x = np.mgrid[-self._radius : self._radius + 1, -self._radius : self._radius + 1]
        self._inside = x**2 + y**2 <= self._radius**2
        self.area = int(self._inside.sum())
        # Periods of a few seconds that are not multiples of each other.
        self._speed = rng.uniform(0.02, 0.05, (objects, 2))
        self._phase = rng.uniform(0, 2 * np.pi, (objects, 2))

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frame `index`: uint8 RGB [H, W, 3] and the truth, uint8 [H, W]."""
        image, labels = self._background.copy(), np.zeros(self.size, np.uint8)
        middle = np.array(self.size) / 2
        phases = np.sin(self._speed * index + self._phase)
        corners = np.round(middle * (1 + self._reach * phases)).astype(int) - self._radius
        for number, (texture, corner) in enumerate(zip(self._textures, corners, strict=True), 1):
            begin = np.maximum(corner, 0)
            end = np.minimum(corner + texture.shape[0], self.size)
            if (end <= begin).any():
                continue
            window = tuple(slice(*span) for span in zip(begin, end, strict=True))
            crop = tuple(slice(*span) for span in zip(begin - corner, end - corner, strict=True))
            inside = self._inside[crop]
            image[window][inside] = texture[crop][inside]
            labels[window][inside] = number
        return image, labels


def _texture(
    rng: np.random.Generator, size: tuple[int, int], grain: int, values: tuple[int, int]
) -> np.ndarray:
    """Return uint8 [H, W, 3] with smooth blobs about `grain` pixels wide."""
    height, width = size
    coarse = rng.integers(*values, (height // grain + 2, width // grain + 2, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
