# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The background of the demo clip, a sea floor: water, rocks, sand, plants, bubbles."""

from __future__ import annotations

import cv2
import numpy as np

from tam_ros.demo.sprites import curve, grain

# Extent of the painting in scene pixels, larger than what the camera can see.
_LEFT, _TOP, _RIGHT, _BOTTOM = -120, -60, 1080, 440


class Backdrop:
    """A painting of 500 x 1200 scene pixels over which the camera moves, with moving bubbles."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Paint it; all randomness comes from `rng`."""
        height, width = _BOTTOM - _TOP, _RIGHT - _LEFT
        self._painting = _water(rng, height, width)
        _rocks(rng, self._painting)
        _sand(rng, self._painting)
        _plants(rng, self._painting)
        # x, upward speed in scene pixels per frame, radius, start
        self._bubbles = np.column_stack(
            [
                rng.uniform(_LEFT, _RIGHT, 36),
                rng.uniform(0.8, 2.4, 36),
                rng.uniform(1.5, 4.5, 36),
                rng.uniform(0, height, 36),
            ]
        )

    def view(self, to_scene: np.ndarray, size: tuple[int, int], index: int) -> np.ndarray:
        """Return the view of a camera.

        Args:
            to_scene: [2, 3], image pixel (x, y, 1) -> scene pixel.
            size: (width, height) of the image.
            index: number of the frame, for the position of the bubbles.

        Returns:
            float32 RGB [height, width, 3], 0 to 255.
        """
        to_painting = to_scene.copy()
        to_painting[:, 2] -= (_LEFT, _TOP)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(
            self._painting, to_painting, size, flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        to_image = cv2.invertAffineTransform(to_scene)
        for x, speed, radius, start in self._bubbles:
            y = _BOTTOM - (start + speed * index) % (_BOTTOM - _TOP)
            centre = to_image @ (x + 5 * np.sin(index / 7 + start), y, 1)
            pixel = tuple(int(round(value * 8)) for value in centre)  # three fractional bits
            cv2.circle(image, pixel, int(radius * 8), (198, 226, 232), 1, cv2.LINE_AA, shift=3)
        return image.astype(np.float32)


def _water(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    depth = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, bottom = np.array([92, 168, 188], np.float32), np.array([22, 66, 104], np.float32)
    water = np.broadcast_to(top * (1 - depth) + bottom * depth, (height, width, 3)).copy()
    ripple = sum(grain(rng, (height, width), scale) * scale for scale in (8, 20, 60)) / 88
    water *= 1 + 0.13 * np.asarray(ripple)[..., None]
    # Slanted shafts of light that fade with depth.
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    along = x + 0.45 * y
    shafts = sum(
        np.exp(-(((along - rng.uniform(0, width + 200)) / rng.uniform(12, 34)) ** 2))
        for _ in range(9)
    )
    water += (34 * shafts * np.clip(1 - y / (0.8 * height), 0, 1))[..., None]
    return np.clip(water, 0, 255).astype(np.uint8)


def _rocks(rng: np.random.Generator, painting: np.ndarray) -> None:
    """Paint two rows of rocks; the far one has more haze."""
    height, width = painting.shape[:2]
    for base, haze, count in ((0.72, 0.55, 11), (0.81, 0.15, 10)):
        for centre in np.linspace(20, width - 20, count) + rng.uniform(-30, 30, count):
            reach, rise = rng.uniform(48, 110), rng.uniform(40, 150) * (0.7 + 0.3 * haze)
            foot = base * height
            outline = curve(
                [(centre - reach, foot + 60), (centre - 0.8 * reach, foot - 0.45 * rise)]
                + [(centre - 0.3 * reach, foot - rise * rng.uniform(0.8, 1))]
                + [(centre + 0.35 * reach, foot - rise * rng.uniform(0.6, 0.95))]
                + [(centre + 0.8 * reach, foot - 0.35 * rise), (centre + reach, foot + 60)]
            )
            mask = np.zeros((height, width), np.uint8)
            cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
            texture = grain(rng, (height, width), 5) + 2 * grain(rng, (height, width), 22)
            colour = np.array([92, 88, 84]) * (1 - haze) + np.array([48, 104, 128]) * haze
            colour = colour + rng.uniform(-12, 12, 3)
            rock = colour + (1 - 0.6 * haze) * 13 * texture[..., None]
            inside = mask.astype(bool)
            painting[inside] = np.clip(rock[inside], 0, 255)


def _sand(rng: np.random.Generator, painting: np.ndarray) -> None:
    height, width = painting.shape[:2]
    x = np.arange(width, dtype=np.float32)
    edge = 0.80 * height + 9 * np.sin(x / 90 + rng.uniform(0, 6)) + 5 * np.sin(x / 31)
    y = np.arange(height, dtype=np.float32)[:, None]
    below = y - edge
    ripples = np.sin(below / (2.2 + below.clip(0) * 0.05) + 2 * grain(rng, (height, width), 40))
    shade = 150 + 11 * ripples + 9 * grain(rng, (height, width), 2.5)
    sand = shade[..., None] * np.array([0.98, 0.90, 0.72])
    painting[below > 0] = np.clip(sand, 0, 255)[below > 0]


def _plants(rng: np.random.Generator, painting: np.ndarray) -> None:
    """Paint seaweed and fan corals on the floor."""
    height, width = painting.shape[:2]
    for centre in np.linspace(30, width - 30, 17) + rng.uniform(-25, 25, 17):
        foot = height * rng.uniform(0.80, 0.90)
        coral = rng.random() < 0.4
        colour = (
            rng.uniform((120, 70, 70), (168, 96, 88))
            if coral
            else rng.uniform((40, 84, 50), (86, 128, 70))
        )
        for _ in range(11 if coral else 8):
            lean, length = rng.uniform(-0.6, 0.6), rng.uniform(30, 62 if coral else 105)
            t = np.linspace(0, 1, 12)
            wave = 5 * np.sin(5 * t + rng.uniform(0, 6)) * t
            stem = np.column_stack([centre + lean * length * t + wave, foot - length * t])
            shade = tuple(float(value) for value in colour * rng.uniform(0.75, 1.2))
            pixels = np.round(stem * 8).astype(np.int32)
            thickness = 5 if coral else 3
            cv2.polylines(painting, [pixels], False, shade, thickness, cv2.LINE_AA, shift=3)
