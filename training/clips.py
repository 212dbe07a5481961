# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Reading rendered clips: random sub-clips with augmentation, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

MIN_AREA = 0.003  # smallest share of the image that a prompted object covers


@dataclass
class Batch:
    """A batch of clips and the objects to track in them; O objects in total.

    Attributes:
        images: uint8 RGB [B, T, S, S, 3].
        masks: bool [O, T, S, S], the visible part of each object.
        clip_of: int64 [O], the clip of each object.
    """

    images: Tensor
    masks: Tensor
    clip_of: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(self.images.to(device), self.masks.to(device), self.clip_of.to(device))


class ClipStore:
    """The shards of one split in a folder, memory-mapped.

    Args:
        folder: what `training.render` wrote.
        split: 'train' or 'val'.

    Raises:
        FileNotFoundError: no finished shard is there.
    """

    def __init__(self, folder: Path, split: str = 'train') -> None:
        self._pattern = f'{split}_*.labels.npy'
        self._folder = Path(folder)
        self._shards: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.rescan()
        if not self._shards:
            raise FileNotFoundError(f'no {split} clips in {folder}: run python -m training.render')

    def rescan(self) -> int:
        """Add shards that were finished since the last call; return the number of clips."""
        for path in sorted(self._folder.glob(self._pattern)):
            if path.name not in self._shards:
                images = path.with_name(path.name.replace('.labels.', '.images.'))
                self._shards[path.name] = (
                    np.load(images, mmap_mode='r'),
                    np.load(path, mmap_mode='r'),
                )
        return len(self)

    def __len__(self) -> int:
        """Return the number of clips."""
        return sum(len(labels) for _, labels in self._shards.values())

    def clip(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frames uint8 [T, S, S, 3] and labels uint8 [T, S, S] of one clip, as views."""
        for images, labels in self._shards.values():
            if index < len(labels):
                return images[index], labels[index]
            index -= len(labels)
        raise IndexError(index)


def resize(images: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resize to [T, size, size]: frames by area or bilinear, labels by nearest neighbour."""
    if images.shape[1:3] == (size, size):
        return np.ascontiguousarray(images), np.ascontiguousarray(labels)
    return (
        np.stack([cv2.resize(i, (size, size), interpolation=cv2.INTER_AREA) for i in images]),
        np.stack(
            [cv2.resize(x, (size, size), interpolation=cv2.INTER_NEAREST_EXACT) for x in labels]
        ),
    )


def _window(rng: np.random.Generator, side: int) -> tuple[slice, slice]:
    """Choose a crop: the whole image, or one half to all of each side.

    There are few real images; crops of other sizes and proportions add variety.
    """
    if rng.random() < 0.4:
        return slice(0, side), slice(0, side)
    scale = rng.uniform(0.5, 1.0)
    spans = [
        max(side // 2, int(side * min(1.0, scale * rng.uniform(0.85, 1.15)))) for _ in range(2)
    ]
    starts = [int(rng.integers(side - span + 1)) for span in spans]
    rows, columns = (slice(start, start + span) for start, span in zip(starts, spans, strict=True))
    return rows, columns


def _augment(
    rng: np.random.Generator, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Flip, and change colours with one lookup table per channel for the whole clip."""
    if rng.random() < 0.5:
        images, labels = images[:, :, ::-1], labels[:, :, ::-1]
    if rng.random() < 0.15:
        images, labels = images[:, ::-1], labels[:, ::-1]
    if rng.random() < 0.1:
        images = images[..., rng.permutation(3)]
    if rng.random() < 0.6:
        ramp = np.arange(256, dtype=np.float32) / 255
        gamma = np.exp(rng.normal(0, 0.2, 3) * 0.5 + rng.normal(0, 0.25))
        table = np.stack([ramp**g for g in gamma], -1) * rng.uniform(0.8, 1.15) * 255
        table = (table + rng.normal(0, 10)).clip(0, 255).astype(np.uint8)
        images = cv2.LUT(
            np.ascontiguousarray(images).reshape(len(images), -1, 3), table[None]
        ).reshape(images.shape)
    return np.ascontiguousarray(images), np.ascontiguousarray(labels)


def promptable(labels: np.ndarray) -> np.ndarray:
    """Return the labels that cover at least `MIN_AREA` of the frame uint8 [S, S]."""
    share = np.bincount(labels.ravel(), minlength=2)[1:] / labels.size
    return np.flatnonzero(share >= MIN_AREA) + 1


def vanishing(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return those of `values` that are absent from some frame of labels [T, S, S]."""
    # Every third pixel is enough: an object that it misses is hardly visible.
    counts = np.stack([np.bincount(frame[::3, ::3].ravel(), minlength=256) for frame in labels])
    return values[(counts[:, values] == 0).any(0)]


def sample(
    store: ClipStore,
    rng: np.random.Generator,
    clips: int,
    frames: int,
    size: int,
    objects: int = 2,
    absence: float = 0.4,
) -> Batch:
    """Draw a batch of augmented sub-clips.

    Args:
        store: where from.
        rng: the batch is a function of its state and of the store's contents.
        clips: number of clips.
        frames: length of each.
        size: side of the frames.
        objects: at most this many objects of each clip, all promptable in its first frame.
        absence: share of the clips of three frames or more in which an object shall be out of
            sight for a while; found by trying, so that fewer may be if few clips have one.
    """
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    clip_of: list[int] = []
    tries = 0
    while len(images) < clips:
        clip_images, clip_labels = store.clip(int(rng.integers(len(store))))
        length = len(clip_images)
        stride = int(rng.integers(1, max(1, min(3, (length - 1) // max(frames - 1, 1))) + 1))
        span = stride * (frames - 1) + 1
        start = int(rng.integers(length - span + 1))
        order = np.arange(start, start + span, stride)
        if rng.random() < 0.5:
            order = order[::-1]
        rows, columns = _window(rng, clip_labels.shape[1])
        clip_labels = clip_labels[order, rows, columns]
        candidates = promptable(clip_labels[0])
        if not len(candidates):
            continue
        chosen = rng.permutation(candidates)
        if frames >= 3:
            tries = int(rng.integers(1, 9)) if not tries and rng.random() < absence else tries
            gone = vanishing(clip_labels, chosen)
            if tries > 1 and not len(gone):
                tries -= 1
                continue
            tries = 0
            chosen = np.concatenate([gone[:1], chosen[~np.isin(chosen, gone[:1])]])
        chosen = chosen[:objects]
        x, y = resize(clip_images[order, rows, columns], clip_labels, size)
        x, y = _augment(rng, x, y)
        masks += [torch.from_numpy(y == value) for value in chosen]
        clip_of += [len(images)] * len(chosen)
        images.append(torch.from_numpy(x))
    return Batch(torch.stack(images), torch.stack(masks), torch.tensor(clip_of))
