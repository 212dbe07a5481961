# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Moving pictures for measuring time and memory: textured discs that roam over a textured ground.

They say nothing about accuracy. The stream has no end, any frame can be asked for, and each is
always the same.
"""

from __future__ import annotations

import cv2
import numpy as np

# Of the discs, before texture is added to them.
_COLOURS = np.array(
    [(140, 0, 0), (0, 120, 20), (140, 120, 0), (0, 60, 140), (120, 0, 130), (0, 130, 130)],
    np.uint8,
)


class MovingDiscs:
    """Textured discs on closed paths.

    Attributes:
        objects: how many discs; disc n has label n, 1 or more. Later ones lie on top.
        size: (height, width) of the picture in pixels.
        area: of a disc that nothing cuts, pixels.
    """

    def __init__(
        self, objects: int, size: tuple[int, int] = (480, 640), reach: float = 0.8, seed: int = 0
    ) -> None:
        """Draw textures and choose paths.

        Args:
            objects: number of discs.
            size: (height, width) in pixels, 32 at least.
            reach: how far the paths go, as a share of the picture's half; discs leave the
                picture now and then where it is well above 1.
            seed: of textures and paths.
        """
        if objects < 0 or min(size) < 32:
            raise ValueError(f'{objects} discs on {size[1]}x{size[0]} pixels cannot be drawn')
        self.objects, self.size = objects, size
        self._reach = reach
        rng = np.random.default_rng(seed)
        self._ground = _texture(rng, size, 40, (60, 130))
        self._radius = max(6, round(min(size) / (5 + 0.5 * objects)))
        side = 2 * self._radius + 1
        self._textures = [
            _texture(rng, (side, side), self._radius // 2, (0, 110)) + colour
            for colour in _COLOURS[np.arange(objects) % len(_COLOURS)]
        ]
        y, x = np.mgrid[-self._radius : self._radius + 1, -self._radius : self._radius + 1]
        self._inside = x**2 + y**2 <= self._radius**2
        self.area = int(self._inside.sum())
        # Periods of some seconds, none a multiple of another.
        self._speed = rng.uniform(0.02, 0.05, (objects, 2))
        self._phase = rng.uniform(0, 2 * np.pi, (objects, 2))

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frame `index`: uint8 RGB [H, W, 3] and the truth, uint8 [H, W]."""
        image, labels = self._ground.copy(), np.zeros(self.size, np.uint8)
        middle = np.array(self.size) / 2
        ways = np.sin(self._speed * index + self._phase)
        corners = np.round(middle * (1 + self._reach * ways)).astype(int) - self._radius
        for number, (texture, corner) in enumerate(zip(self._textures, corners, strict=True), 1):
            begin = np.maximum(corner, 0)
            end = np.minimum(corner + texture.shape[0], self.size)
            if (end <= begin).any():
                continue
            there = tuple(slice(*span) for span in zip(begin, end, strict=True))
            own = tuple(slice(*span) for span in zip(begin - corner, end - corner, strict=True))
            inside = self._inside[own]
            image[there][inside] = texture[own][inside]
            labels[there][inside] = number
        return image, labels


def _texture(
    rng: np.random.Generator, size: tuple[int, int], grain: int, values: tuple[int, int]
) -> np.ndarray:
    """Return uint8 [H, W, 3] of soft blotches about `grain` pixels wide."""
    height, width = size
    coarse = rng.integers(*values, (height // grain + 2, width // grain + 2, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
