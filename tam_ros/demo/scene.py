# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A drawn clip with ground truth: two objects cross, one leaves the image and returns.

A striped fish (label 1) and a jellyfish (label 2) deform as they swim. The fish passes in front of
the jellyfish and behind a stalk of kelp. The camera follows the fish until the jellyfish is out of
the image, then zooms out until it is back. A small fish without a label passes as well. Blur,
noise and exposure vary slightly, as those of a real camera do.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from tam_ros.demo import sprites
from tam_ros.demo.backdrop import Backdrop
from tam_ros.demo.sprites import TEXTURE_SCALE, Sprite
from tam_ros.prompting.prompt_text import PromptSpec

WIDTH, HEIGHT = 640, 360
FRAMES = 150
RATE_HZ = 15.0


class _Camera(NamedTuple):
    """Centre of the image in scene pixels, zoom, and roll in radians."""

    x: float
    y: float
    zoom: float
    roll: float

    def to_scene(self) -> np.ndarray:
        """Return float64 [2, 3]: image pixel (x, y, 1) -> scene (x, y)."""
        cos, sin = np.cos(self.roll) / self.zoom, np.sin(self.roll) / self.zoom
        linear = np.array([[cos, -sin], [sin, cos]])
        shift = np.array([self.x, self.y]) - linear @ [WIDTH / 2, HEIGHT / 2]
        return np.column_stack([linear, shift])


_Path = tuple[tuple[float, float, float, float], ...]


class _Actor(NamedTuple):
    """A sprite on a path: keyframes of (frame, x, y, tilt in degrees), scene pixels."""

    sprite: Sprite
    label: int
    path: _Path
    beat: float  # radians of deformation per frame
    phase: float


class DemoScene:
    """The demo clip. `frame(i)` can be called in any order and is deterministic.

    Attributes:
        frames: number of frames.
        rate_hz: frames per second to play it at.
        size: (height, width) of the image in pixels.
    """

    frames = FRAMES
    rate_hz = RATE_HZ
    size = (HEIGHT, WIDTH)

    def __init__(self, seed: int = 7) -> None:
        """Draw the sprites and the backdrop.

        Args:
            seed: seed of textures, backdrop, noise, and small changes of colour, height and phase.
        """
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._backdrop = Backdrop(rng)
        nudge = rng.uniform(-10, 10, 4)
        tint = rng.uniform(-14, 14, 9)
        phase = rng.uniform(0, 2 * np.pi, 4)
        fish = sprites.striped_fish(rng, _tinted((240, 122, 34), tint[:3]), (238, 236, 226))
        jelly = sprites.jellyfish(rng, _tinted((176, 66, 150), tint[3:6]), (247, 214, 226))
        small = sprites.striped_fish(rng, _tinted((226, 206, 92), tint[6:]), (70, 92, 160), 88)
        # Back to front. The fish swims in front of the jellyfish, the kelp hides both.
        self._actors = (
            _Actor(small, 0, _shift(_SMALL_FISH, nudge[3]), -0.9, phase[0]),
            _Actor(jelly, 2, _shift(_JELLYFISH, nudge[0]), 0.42, phase[1]),
            _Actor(fish, 1, _shift(_FISH, nudge[1]), 0.62, phase[2]),
            _Actor(sprites.kelp(rng), 0, _shift(_KELP, nudge[2]), 0.11, phase[3]),
        )

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw one frame.

        Args:
            index: 0 to `frames - 1`.

        Returns:
            The image, uint8 RGB [H, W, 3], and the ground truth, uint8 [H, W]: 0 background, 1
            the visible part of the fish, 2 that of the jellyfish.

        Raises:
            IndexError: no such frame.
        """
        if not 0 <= index < self.frames:
            raise IndexError(f'frame {index} of a clip of {self.frames} frames')
        camera = _camera_at(index)
        to_scene = camera.to_scene()
        image = self._backdrop.view(to_scene, (WIDTH, HEIGHT), index)
        labels = np.zeros(self.size, np.uint8)
        for actor in self._actors:
            _draw(image, labels, actor, to_scene, index)
        return self._expose(image, index), labels

    @cached_property
    def prompts(self) -> tuple[PromptSpec, ...]:
        """A box around each of the two objects on frame 0, with a margin of 2 pixels."""
        labels = self.frame(0)[1]
        return tuple(_box_prompt(labels, label) for label in (1, 2))

    @cached_property
    def click_prompts(self) -> tuple[PromptSpec, ...]:
        """A click on each of the two objects on frame 0, at the point farthest from the edge."""
        labels = self.frame(0)[1]
        return tuple(_click_prompt(labels, label) for label in (1, 2))

    def _expose(self, image: np.ndarray, index: int) -> np.ndarray:
        """Add the effects of a camera: soft focus, drifting exposure, noise."""
        focus = 0.55 + 0.35 * np.sin(index / 23.0) ** 2
        image = cv2.GaussianBlur(image, (0, 0), focus)
        gain = 1 + 0.07 * np.sin(index / 19.0 + 1)
        rng = np.random.default_rng((self._seed, index))
        # One noise field, shifted for each channel: a third of the cost, and it looks the same.
        noise = rng.standard_normal((HEIGHT, WIDTH + 16), np.float32) * 3.0
        noise = np.stack([noise[:, k : k + WIDTH] for k in (0, 7, 16)], axis=-1)
        return np.clip(image * gain + noise, 0, 255).astype(np.uint8)


# frame, x, y, tilt. The fish meets the jellyfish at about frame 50, passes the kelp at about 75.
_FISH = (
    (0, 128, 232, -4),
    (25, 225, 214, -6),
    (45, 335, 196, -2),
    (60, 440, 192, 4),
    (80, 590, 208, 6),
    (100, 690, 214, 0),
    (125, 705, 190, -5),
    (149, 668, 176, -2),
)
_JELLYFISH = (
    (0, 458, 176, 4),
    (25, 428, 160, 8),
    (50, 378, 164, 2),
    (70, 318, 182, -6),
    (88, 236, 190, -8),
    (102, 180, 178, -2),
    (118, 238, 166, 6),
    (134, 318, 174, 6),
    (149, 346, 186, 2),
)
_SMALL_FISH = (
    (0, 60, 92, 0),
    (40, 260, 80, -3),
    (80, 520, 92, 4),
    (120, 760, 128, 2),
    (149, 930, 110, 0),
)
_KELP = ((0, 568, 238, 0), (149, 568, 238, 0))

# frame, x, y, zoom, roll in degrees
_CAMERA = (
    (0, 320, 182, 1.00, 0.0),
    (35, 334, 178, 1.04, 0.8),
    (60, 400, 180, 1.12, 0.2),
    (85, 572, 190, 1.14, -1.0),
    (102, 604, 186, 1.08, -0.5),
    (125, 530, 178, 1.00, 0.6),
    (149, 500, 180, 1.00, 0.0),
)


def _shift(path: _Path, up: float) -> _Path:
    return tuple((frame, x, y + up, tilt) for frame, x, y, tilt in path)


def _tinted(colour: tuple[int, int, int], tint: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.clip(np.add(colour, tint), 0, 255))
    return red, green, blue


def _between(keyframes: tuple[tuple[float, ...], ...], index: float) -> np.ndarray:
    """Interpolate keyframes (frame, values...) by cubic Hermite curves."""
    table = np.array(keyframes, float)
    times, values = table[:, 0], table[:, 1:]
    slopes = np.gradient(values, times, axis=0)
    left = int(np.clip(np.searchsorted(times, index, side='right') - 1, 0, len(times) - 2))
    span = times[left + 1] - times[left]
    t = (index - times[left]) / span
    return (
        (2 * t**3 - 3 * t**2 + 1) * values[left]
        + (t**3 - 2 * t**2 + t) * span * slopes[left]
        + (-2 * t**3 + 3 * t**2) * values[left + 1]
        + (t**3 - t**2) * span * slopes[left + 1]
    )


def _camera_at(index: int) -> _Camera:
    x, y, zoom, roll = _between(_CAMERA, index)
    # Shake of a hand-held camera, too small for motion blur.
    x += 2.2 * np.sin(index * 0.9) + 1.3 * np.sin(index * 2.3)
    y += 1.8 * np.sin(index * 1.1 + 1)
    return _Camera(x, y, zoom, np.deg2rad(roll))


def _draw(
    image: np.ndarray, labels: np.ndarray, actor: _Actor, to_scene: np.ndarray, index: int
) -> None:
    """Draw one actor over image [H, W, 3] float32 and labels [H, W], in place."""
    x, y, tilt = _between(actor.path, index)
    cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    turn = np.array([[cos, sin], [-sin, cos]])  # scene -> sprite
    to_sprite = np.column_stack([turn @ to_scene[:, :2], turn @ (to_scene[:, 2] - [x, y])])
    window = _window(to_sprite, actor.sprite.half_size)
    if window is None:
        return
    rows, columns = window
    column, row = np.meshgrid(
        np.arange(columns.start, columns.stop, dtype=np.float32),
        np.arange(rows.start, rows.stop, dtype=np.float32),
    )
    (a, b, c), (d, e, f) = to_sprite
    local_x, local_y = actor.sprite.bend(
        a * column + b * row + c, d * column + e * row + f, actor.phase + actor.beat * index
    )
    height, width = actor.sprite.matte.shape
    map_x = (local_x * TEXTURE_SCALE + (width - 1) / 2).astype(np.float32)
    map_y = (local_y * TEXTURE_SCALE + (height - 1) / 2).astype(np.float32)
    matte = cv2.remap(actor.sprite.matte, map_x, map_y, cv2.INTER_LINEAR)
    rgb = cv2.remap(
        actor.sprite.rgb, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    part = image[rows, columns]
    part += (rgb - part) * matte[..., None]
    labels[rows, columns][matte >= 0.5] = actor.label


def _window(to_sprite: np.ndarray, half_size: tuple[float, float]) -> tuple[slice, slice] | None:
    """Return the rows and columns of the image that a sprite can cover, or None."""
    half_width, half_height = half_size
    corners = np.array([(sx * half_width, sy * half_height) for sx in (-1, 1) for sy in (-1, 1)])
    on_image = np.linalg.solve(to_sprite[:, :2], (corners - to_sprite[:, 2]).T)
    left, top = np.floor(on_image.min(axis=1)).astype(int)
    right, bottom = np.ceil(on_image.max(axis=1)).astype(int) + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)
    if left >= right or top >= bottom:
        return None
    return slice(top, bottom), slice(left, right)


def _box_prompt(labels: np.ndarray, label: int) -> PromptSpec:
    height, width = labels.shape
    left, top, box_width, box_height = cv2.boundingRect((labels == label).astype(np.uint8))
    box = (
        max(left - 2, 0),
        max(top - 2, 0),
        min(left + box_width + 2, width - 1),
        min(top + box_height + 2, height - 1),
    )
    return PromptSpec(label, box=box)


def _click_prompt(labels: np.ndarray, label: int) -> PromptSpec:
    inside = np.pad((labels == label).astype(np.uint8), 1)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return PromptSpec(label, points=((float(column), float(row)),), labels=(1,))
