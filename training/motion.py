# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Smooth random motion: trajectories, poses and elastic fields over the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Rng = np.random.Generator


def curve(rng: Rng, frames: int, drift: float, sway: float) -> np.ndarray:
    """A smooth random function of time that starts at 0.

    Args:
        rng: source of randomness.
        frames: length of the clip.
        drift: standard deviation of the change over the whole clip.
        sway: amplitude of the oscillation on top of it.

    Returns:
        float64 [frames].
    """
    time = np.arange(frames) / max(frames - 1, 1)
    out = rng.normal(0, drift) * time ** rng.choice((1.0, 1.0, 2.0))
    for waves in (rng.uniform(0.3, 1.2), rng.uniform(1.0, 2.5)):
        out = out + rng.normal(0, sway) / waves * np.sin(
            2 * np.pi * waves * time + rng.uniform(0, 2 * np.pi)
        )
    return out - out[0]


def excursion(rng: Rng, frames: int) -> np.ndarray:
    """Return the progress of an object out of the image and back: float64 [frames] in 0..1.

    It leaves within the clip, stays away for a while, and comes back in two thirds of the cases.
    """
    time = np.arange(frames) / max(frames - 1, 1)
    leave, back = rng.uniform(0.1, 0.5), rng.uniform(0.55, 0.9)
    if rng.random() < 1 / 3:
        back = 2.0
    pace = rng.uniform(4.0, 12.0)
    out = np.clip((time - leave) * pace, 0, 1) * np.clip((back - time) * pace, 0, 1)
    return out * out * (3 - 2 * out)


def affine(
    x: float, y: float, angle: float, scale_x: float, scale_y: float, shear: float = 0.0
) -> np.ndarray:
    """Return a 3x3 matrix: scale, shear, rotate by `angle` radians, then move to (x, y)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine, x], [sine, cosine, y], [0, 0, 1.0]])
    return (
        rotation
        @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1.0]])
        @ np.diag((scale_x, scale_y, 1.0))
    )


def camera_path(rng: Rng, frames: int, size: int) -> np.ndarray:
    """Return camera motion about the image centre: float64 [frames, 3, 3], first = identity.

    A fifth of the cameras stand still, the others pan, roll, zoom and shake.
    """
    if rng.random() < 0.2:
        return np.broadcast_to(np.eye(3), (frames, 3, 3)).copy()
    amount = rng.choice((0.3, 1.0, 1.0, 2.0))
    x = curve(rng, frames, 0.08 * amount, 0.02 * amount) * size
    y = curve(rng, frames, 0.05 * amount, 0.02 * amount) * size
    shake = rng.choice((0.0, 0.0, 0.004)) * size
    x, y = x + rng.normal(0, 1, frames) * shake, y + rng.normal(0, 1, frames) * shake
    roll = curve(rng, frames, 0.06 * amount, 0.02 * amount)
    zoom = np.exp(curve(rng, frames, 0.10 * amount, 0.02 * amount))
    middle = affine(size / 2, size / 2, 0, 1, 1)
    back = affine(-size / 2, -size / 2, 0, 1, 1)
    path = np.stack(
        [middle @ affine(x[t], y[t], roll[t], zoom[t], zoom[t]) @ back for t in range(frames)]
    )
    return path @ np.linalg.inv(path[0])


@dataclass
class Elastic:
    """A displacement field that changes smoothly with time.

    Attributes:
        grid: float32 [2, n, n, 2] two coarse fields (pixels) that are mixed over time.
        phase: float64 [frames] mixing angle.
    """

    grid: np.ndarray
    phase: np.ndarray

    @classmethod
    def random(cls, rng: Rng, frames: int, amplitude: float) -> Elastic:
        """Create a field whose displacement has a standard deviation of `amplitude` pixels."""
        cells = int(rng.integers(3, 6))
        grid = rng.normal(0, amplitude, (2, cells, cells, 2)).astype(np.float32)
        return cls(grid, rng.uniform(0, 6.3) + np.linspace(0, rng.uniform(0.5, 5.0), frames))

    def at(self, frame: int, height: int, width: int) -> np.ndarray:
        """Return the displacement at a frame, float32 [height, width, 2] (x, y)."""
        angle = self.phase[frame]
        field = np.cos(angle) * self.grid[0] + np.sin(angle) * self.grid[1]
        return cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
