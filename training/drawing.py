# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Drawn textures and silhouettes: the synthetic part of the training clips."""

from __future__ import annotations

import cv2
import numpy as np

from training.sources import LabelledImage, Sources

Rng = np.random.Generator


def colour(rng: Rng) -> np.ndarray:
    """Return a random colour, float32 [3] in 0..255, saturated about half of the time."""
    drawn = [rng.integers(180), rng.integers(30, 256), rng.integers(40, 256)]
    hsv = np.array([[drawn]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def _noise(rng: Rng, size: int) -> np.ndarray:
    """Return fractal noise, float32 [size, size] in 0..1."""
    out = np.zeros((size, size), np.float32)
    cells, weight = int(rng.integers(2, 7)), 1.0
    for _ in range(int(rng.integers(1, 5))):
        grid = rng.random((cells, cells)).astype(np.float32)
        out += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        cells, weight = min(cells * 2, size), weight * rng.uniform(0.3, 0.8)
    out -= out.min()
    return out / max(float(out.max()), 1e-6)


def _stripes(rng: Rng, size: int) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size].astype(np.float32) / size
    angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 14)
    bend = rng.uniform(0, 1.0) * _noise(rng, size)
    phase = waves * (xs * np.cos(angle) + ys * np.sin(angle) + 0.2 * bend)
    return (np.sin(2 * np.pi * phase) * rng.uniform(1, 6) * 0.5 + 0.5).clip(0, 1)


def _checks(rng: Rng, size: int) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size].astype(np.float32) / size
    angle, cells = rng.uniform(0, np.pi), rng.uniform(3, 12)
    u = xs * np.cos(angle) + ys * np.sin(angle)
    v = ys * np.cos(angle) - xs * np.sin(angle)
    return ((np.floor(u * cells) + np.floor(v * cells)) % 2).astype(np.float32)


def _dots(rng: Rng, size: int) -> np.ndarray:
    out = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(6, 50))):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        cv2.circle(out, centre, int(rng.integers(size // 40 + 1, size // 9)), 1.0, -1, cv2.LINE_AA)
    return out


def texture(rng: Rng, size: int = 192) -> np.ndarray:
    """Return a drawn texture of two or three colours, uint8 [size, size, 3]."""
    makers = (_noise, _stripes, _checks, _dots)
    weight = makers[rng.choice(4, p=(0.4, 0.25, 0.2, 0.15))](rng, size)[..., None]
    low, high = colour(rng), colour(rng)
    if rng.random() < 0.4:  # low contrast, the difficult case
        high = low + (high - low) * rng.uniform(0.1, 0.4)
    out = low + (high - low) * weight
    if rng.random() < 0.5:
        out += (colour(rng) - out) * (0.6 * _noise(rng, size)[..., None])
    if rng.random() < 0.3:
        out += rng.normal(0, rng.uniform(2, 14), out.shape)
    return out.clip(0, 255).astype(np.uint8)


def crop(rng: Rng, image: LabelledImage, size: int = 192) -> np.ndarray:
    """Return a random square of a real image as a texture, uint8 [size, size, 3]."""
    height, width = image.rgb.shape[:2]
    side = int(min(height, width) * rng.uniform(0.25, 0.9))
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return cv2.resize(
        image.rgb[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA
    )


def any_texture(rng: Rng, sources: Sources, size: int = 192) -> np.ndarray:
    """Return a drawn texture, a flat colour or a part of a real image."""
    kind = rng.random()
    if kind < 0.4:
        pool = sources.stills if rng.random() < 0.5 else sources.frames
        return crop(rng, pool[rng.integers(len(pool))], size)
    if kind < 0.5:
        return np.broadcast_to(colour(rng), (size, size, 3)).astype(np.uint8)
    return texture(rng, size)


def silhouette(rng: Rng, size: int = 192) -> np.ndarray:
    """Return a drawn outline: blob, polygon, star, ellipse, rounded bar or ring; uint8 alpha."""
    shift = 4  # fixed-point bits: anti-aliased vertices
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    kind = rng.choice(6, p=(0.4, 0.22, 0.08, 0.15, 0.1, 0.05))
    if kind == 0:  # blob
        radius = np.ones_like(angles)
        for wave in range(2, int(rng.integers(4, 9))):
            radius += rng.uniform(0, 0.55 / wave) * np.cos(wave * angles + rng.uniform(0, 6.3))
    elif kind == 1:  # polygon
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        radius = rng.uniform(0.6, 1.0, len(angles))
    elif kind == 2:  # star
        tips = int(rng.integers(4, 9))
        angles = np.linspace(0, 2 * np.pi, 2 * tips, endpoint=False)
        radius = np.where(np.arange(2 * tips) % 2, rng.uniform(0.35, 0.7), 1.0)
    else:  # ellipse, bar, ring
        power = 4.0 if kind == 4 else 2.0
        cosine, sine = np.abs(np.cos(angles)), np.abs(np.sin(angles))
        radius = (cosine**power + sine**power) ** (-1 / power)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    points[:, 1] *= rng.uniform(0.3, 1.0) if kind != 1 else 1.0
    low, high = points.min(0), points.max(0)
    if np.any(high - low < 0.05):  # collinear vertices have no area
        return silhouette(rng, size)
    points = (points - (low + high) / 2) / (high - low).max() * (size - 6) + size / 2
    alpha = np.zeros((size, size), np.uint8)
    fixed = np.round(points * (1 << shift)).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 255, cv2.LINE_AA, shift)
    if kind == 5:
        inner = (points - size / 2) * rng.uniform(0.35, 0.65) + size / 2
        cv2.fillPoly(
            alpha, [np.round(inner * (1 << shift)).astype(np.int32)], 0, cv2.LINE_AA, shift
        )
    return alpha
