# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small dataset on disk and a scripted tracker, for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from PIL import Image

from tam_ros.closing import Closing

SIZE = (40, 60)


def labels_of(*squares: tuple[int, int]) -> np.ndarray:
    """Return uint8 [40, 60] with squares of 10x10 pixels: (label, left column) each."""
    labels = np.zeros(SIZE, np.uint8)
    for label, left in squares:
        labels[10:20, left : left + 10] = label
    return labels


def moving(count: int = 9, label: int = 1) -> list[np.ndarray]:
    """Return label images of a square that moves right by two pixels per frame."""
    return [labels_of((label, 5 + 2 * t)) for t in range(count)]


def write(
    root: Path, name: str, truth: list[np.ndarray | None], resolution: str = '', start: int = 0
) -> Path:
    """Write a sequence; a frame whose truth is None has no mask. Return the dataset's folder."""
    images, masks = (root / part / resolution / name for part in ('JPEGImages', 'Annotations'))
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for t, labels in enumerate(truth, start):
        picture = np.full((*SIZE, 3), 40, np.uint8)
        if labels is not None:
            picture[labels > 0] = (200, 120, 40)
            image = Image.fromarray(labels, 'P')
            image.putpalette(bytes(range(256)) * 3)  # arbitrary, a different colour for each label
            image.save(masks / f'{t:05d}.png')
        cv2.imwrite(str(images / f'{t:05d}.jpg'), picture)
    return root


class ScriptedTracker(Closing):
    """Returns the label images of a function of the frame index and the masks prompted so far."""

    model = weights = runtime = 'scripted'
    info = {'device': 'none', 'precision': 'exact'}

    def __init__(self, answer: Callable[[int, dict[int, np.ndarray]], np.ndarray]) -> None:
        self._answer = answer
        self.steps: list[tuple[float, list[int]]] = []
        self.reset()

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.masks: dict[int, np.ndarray] = {}
        self.steps.clear()

    def step(self, image, stamp, prompts=()):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        self.masks |= {p.object_id: p.mask_image for p in prompts}
        self.steps.append((stamp, [p.object_id for p in prompts]))
        return SimpleNamespace(labels=self._answer(len(self.steps) - 1, self.masks))


def first_masks_stay(index: int, masks: dict[int, np.ndarray]) -> np.ndarray:
    """Return the prompted masks unchanged, the baseline that any tracker must exceed."""
    labels = np.zeros(next(iter(masks.values()), labels_of()).shape, np.uint16)
    for label, mask in masks.items():
        labels[mask] = label
    return labels
