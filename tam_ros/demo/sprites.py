# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The sprites of the demo clip: textures with a matte, and their deformations.

A sprite is drawn once, at rest, at `TEXTURE_SCALE` texture pixels per scene pixel. Its motion
comes from `bend`, a backward warp: it maps points (x, y) of the deformed sprite to those of the
sprite at rest. Coordinates are scene pixels from the sprite's centre, x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

TEXTURE_SCALE = 1.5
"""Texture pixels per scene pixel: the camera zooms in by up to 1.2."""

_SUPERSAMPLE = 2  # drawn this much finer, then area-averaged, for smooth outlines
_DRAW_SCALE = TEXTURE_SCALE * _SUPERSAMPLE

Bend = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Sprite:
    """One sprite.

    Attributes:
        rgb: uint8 [h, w, 3], the texture.
        matte: float32 [h, w], 0 outside to 1 inside.
        bend: backward warp (x, y, phase in radians) -> (x, y), scene pixels from the centre.
        margin: scene pixels by which `bend` may move the outline beyond the texture.
    """

    rgb: np.ndarray
    matte: np.ndarray
    bend: Bend
    margin: float

    @property
    def half_size(self) -> tuple[float, float]:
        """Half width and half height in scene pixels, including the margin."""
        height, width = self.matte.shape
        return (
            width / (2 * TEXTURE_SCALE) + self.margin,
            height / (2 * TEXTURE_SCALE) + self.margin,
        )


class _Canvas:
    """A supersampled drawing surface around (0, 0), in scene pixels."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (round(width * TEXTURE_SCALE), round(height * TEXTURE_SCALE))
        fine = (self.size[1] * _SUPERSAMPLE, self.size[0] * _SUPERSAMPLE)
        self.rgb = np.zeros((*fine, 3), np.float32)
        self.matte = np.zeros(fine, np.uint8)
        columns = (np.arange(fine[1], dtype=np.float32) + 0.5) / _DRAW_SCALE - width / 2
        rows = (np.arange(fine[0], dtype=np.float32) + 0.5) / _DRAW_SCALE - height / 2
        self.x, self.y = np.meshgrid(columns, rows)
        self._origin = np.array([width / 2, height / 2])

    def mask(self, outline: np.ndarray) -> np.ndarray:
        """Return bool [h, w], true inside the closed outline [n, 2]."""
        pixels = np.round((outline + self._origin) * _DRAW_SCALE - 0.5).astype(np.int32)
        mask = np.zeros(self.matte.shape, np.uint8)
        cv2.fillPoly(mask, [pixels], 1)
        return mask.astype(bool)

    def paint(self, inside: np.ndarray, colour: Colour | np.ndarray) -> None:
        """Paint a region with a colour and add it to the sprite."""
        self.rgb[inside] = colour if isinstance(colour, tuple) else colour[inside]
        self.matte[inside] = 1

    def sprite(self, bend: Bend, margin: float) -> Sprite:
        """Return the sprite, area-averaged; colours are extended beyond its edge."""
        known = self.matte.astype(np.float32)
        spread = cv2.GaussianBlur(known, (0, 0), 6) + 1e-4
        bled = cv2.GaussianBlur(self.rgb * known[..., None], (0, 0), 6) / spread[..., None]
        rgb = np.where(known[..., None] > 0, self.rgb, bled)
        rgb = cv2.resize(rgb, self.size, interpolation=cv2.INTER_AREA)
        matte = cv2.resize(known, self.size, interpolation=cv2.INTER_AREA)
        return Sprite(np.clip(rgb, 0, 255).astype(np.uint8), matte, bend, margin)


def grain(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Return smooth noise, float32 [h, w], mean 0, deviation 1, with blobs of `scale` pixels."""
    height, width = shape
    coarse = (int(height / scale) + 4, int(width / scale) + 4)
    noise: np.ndarray = rng.standard_normal(coarse).astype(np.float32)
    noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def curve(points: Sequence[tuple[float, float]], steps: int = 24) -> np.ndarray:
    """Return a smooth closed outline [n, 2] through points (Catmull-Rom spline)."""
    knots = np.array(points, float)
    before, after, beyond = (np.roll(knots, shift, axis=0) for shift in (1, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    segments = 0.5 * (
        2 * knots
        + (after - before) * t
        + (2 * before - 5 * knots + 4 * after - beyond) * t**2
        + (3 * knots - before - 3 * after + beyond) * t**3
    )
    return segments.transpose(1, 0, 2).reshape(-1, 2)


def striped_fish(
    rng: np.random.Generator, body: Colour, band: Colour, length: float = 210
) -> Sprite:
    """Draw a fish with three bands that faces right; its wave grows towards the tail."""
    unit = length / 210
    canvas = _Canvas(224 * unit, 132 * unit)
    x, y = canvas.x / unit, canvas.y / unit
    speckle = grain(rng, x.shape, 9 * unit)
    colour = np.array(body, np.float32) + 9 * speckle[..., None]
    colour *= (1.08 - 0.28 * np.clip((y + 45) / 90, 0, 1))[..., None]  # lit from above
    fin = colour * np.array([0.86, 0.74, 0.72], np.float32)
    fin *= (1 + 0.10 * np.sin(x * 0.55 + y * 0.5))[..., None]  # fin rays
    tail = [(-46, -13), (-72, -34), (-102, -46), (-92, 0), (-102, 46), (-72, 34), (-46, 13)]
    dorsal = [(52, -38), (30, -58), (-8, -62), (-42, -44), (-48, -20), (20, -20)]
    anal = [(10, 38), (-14, 58), (-40, 46), (-46, 20), (0, 20)]
    pelvic = [(44, 36), (34, 58), (14, 52), (22, 30)]
    for outline in (tail, dorsal, anal, pelvic):
        canvas.paint(canvas.mask(curve(outline) * unit), fin)
    trunk = curve(
        [(103, 4), (88, -20), (56, -42), (10, -48), (-30, -34), (-56, -15)]
        + [(-56, 15), (-30, 34), (10, 46), (56, 40), (88, 24)]
    )
    inside = canvas.mask(trunk * unit)
    canvas.paint(inside, colour)
    for centre, half_width in ((46, 9), (0, 11), (-44, 7)):
        distance = np.abs(x - centre + 0.0035 * y**2 * np.sign(centre + 1))
        canvas.paint(inside & (distance < half_width + 2.5), (38, 26, 30))
        light = np.array(band, np.float32) + 5 * speckle[..., None]
        canvas.paint(inside & (distance < half_width), light * (1.02 - 0.002 * y)[..., None])
    side_fin = canvas.mask(curve([(32, 6), (22, -8), (2, 2), (6, 22), (24, 20)]) * unit)
    canvas.paint(side_fin, fin * 1.1)
    for radius, eye in ((8.5, (245, 240, 225)), (5.5, (25, 22, 28))):
        canvas.paint((x - 78) ** 2 + (y + 9) ** 2 < radius**2, eye)

    def swim(x: np.ndarray, y: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray]:
        towards_tail = np.clip((100 * unit - x) / (200 * unit), 0, 1.1)
        amplitude = unit * (2 + 19 * towards_tail**2)
        return x, y - amplitude * np.sin(2.6 * towards_tail - phase)

    return canvas.sprite(swim, margin=22 * unit)


def jellyfish(rng: np.random.Generator, bell: Colour, spots: Colour) -> Sprite:
    """Draw a jellyfish whose bell pulses and whose short arms sway."""
    canvas = _Canvas(168, 182)
    x, y = canvas.x, canvas.y
    speckle = grain(rng, x.shape, 14)
    base = np.array(bell, np.float32)
    arms = base * np.array([1.06, 1.25, 1.02], np.float32) + 12 * speckle[..., None]
    arms *= (0.92 + 0.12 * np.sin(0.9 * x + 0.05 * y))[..., None]
    for centre, length in ((-42, 62), (-15, 78), (14, 74), (41, 60)):
        arm = curve(
            [(centre - 15, 0), (centre - 13, length * 0.6), (centre - 7, length)]
            + [(centre + 7, length), (centre + 14, length * 0.6), (centre + 15, 0)]
        )
        canvas.paint(canvas.mask(arm), arms)
    dome = canvas.mask(
        curve(
            [(-72, 12), (-66, -30), (-40, -66), (0, -80), (40, -66), (66, -30), (72, 12)]
            + [(50, 20), (25, 14), (0, 21), (-25, 14), (-50, 20)]
        )
    )
    ribs = 1 + 0.09 * np.cos(9 * np.arctan2(x, 60 - y))
    lit = 1.16 - 0.42 * np.clip((y + 80) / 100, 0, 1)
    canvas.paint(dome, base * (ribs * lit)[..., None] + 8 * speckle[..., None])
    for spot_x, spot_y, radius in (
        *((-42, -22, 10), (-12, -30, 12), (22, -24, 11), (48, -12, 8)),
        *((-26, -55, 8), (10, -60, 9), (-56, 4, 6), (-4, 2, 8), (34, 5, 7)),
    ):
        offset = rng.uniform(-3, 3, 2)
        distance = (x - spot_x - offset[0]) ** 2 + (y - spot_y - offset[1]) ** 2
        canvas.paint(dome & (distance < radius**2), spots)

    def pulse(x: np.ndarray, y: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray]:
        squeeze = 0.10 * np.sin(phase)
        below = np.clip((y - 5) / 75, 0, 1.2)
        sway = 11 * below**1.5 * np.sin(1.6 * below - 0.7 * phase)
        flare = 1 - squeeze * (1 + 0.5 * below)
        return (x - sway) * flare, y * (1 + 0.8 * squeeze)

    return canvas.sprite(pulse, margin=22)


def kelp(rng: np.random.Generator, height: float = 430) -> Sprite:
    """Draw a swaying stalk with leaves."""
    canvas = _Canvas(64, height)
    x = canvas.x
    speckle = grain(rng, x.shape, 10)
    green = np.array([58, 104, 52], np.float32) + 9 * speckle[..., None]
    for step, start in enumerate(np.arange(-height / 2 + 14, height / 2 - 40, 30)):
        side = 1 if step % 2 else -1
        leaf = [(0, start + 34), (side * 16, start + 26), (side * 27, start)]
        leaf += [(side * 11, start + 8), (0, start + 20)]
        canvas.paint(canvas.mask(curve(leaf)), green * (1.15 if side > 0 else 0.9))
    canvas.paint(np.abs(x) < 4.5, green * 0.75)

    def sway(x: np.ndarray, y: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray]:
        lift = np.clip((height / 2 - y) / height, 0, 1)
        return x - 16 * lift * np.sin(2.2 * lift + phase), y

    return canvas.sprite(sway, margin=17)
