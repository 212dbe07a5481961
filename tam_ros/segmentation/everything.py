# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Everything mode: masks of whatever a grid of clicks finds in an image.

Each point of a grid is a click of its own, with three candidate masks. Those that the model is
sure of (predicted IoU) and that depend little on their threshold (stability) are kept, and of
several that are the same object, the best one. The rules are those of the official automatic mask
generator of SAM (arXiv 2304.02643, appendix B) without its crops. Batches of clicks run
through the object dimension of the decoder.

H and W are the sides of the image in pixels, M that of the masks that the network predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.runtime.base import Floats
from tam_ros.segmentation.base import (
    CANDIDATES,
    LOGIT_LIMIT,
    Embedding,
    PromptableModel,
    PromptBatch,
)
from tam_ros.segmentation.stability import stability_of
from tam_ros.tracking.frame_result import bounding_box

_BUNDLED_NAMES = 'efficienttam_nano'
# Chosen on the demo's clip and on frames of six DAVIS sequences, see docs/detection.md.
_BUNDLED: dict[str, Any] = {
    'points_per_side': 16,
    'min_predicted_iou': 0.6,
    'min_stability': 0.75,
    'max_mask_iou': 0.5,
    'min_region': 100,
    'max_area': 0.6,
}


@dataclass(frozen=True)
class EverythingOptions:
    """Settings of everything mode; the default thresholds are those of the official generator.

    Attributes:
        points_per_side: clicks along each side of the image. A coarser grid misses small objects
            and takes less time, which is proportional to the number of clicks.
        points_per_batch: clicks that the decoder handles at once. Memory grows with it; the result
            is the same. Officially 64, which is no quicker on a CPU.
        min_predicted_iou: masks need a predicted IoU above this.
        min_stability: masks need a stability of at least this, see `stability.py`.
        max_box_iou: of masks whose boxes have an IoU above this, the best one is kept; 1: all.
        max_mask_iou: the same for the masks themselves; 1: all.
        refine: whether each mask is predicted again, with itself as a further prompt, before it
            is judged. Three times as many prompts again.
        min_region: holes and separate parts of masks with fewer pixels are removed; 0: none.
        min_area: masks with fewer pixels are dropped.
        max_area: masks that cover a larger share of the image are dropped; 1: none.
    """

    points_per_side: int = 32
    points_per_batch: int = 16
    min_predicted_iou: float = 0.8
    min_stability: float = 0.95
    max_box_iou: float = 0.7
    max_mask_iou: float = 1.0
    refine: bool = False
    min_region: int = 0
    min_area: int = 1
    max_area: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.points_per_side <= 128:
            raise ValueError(f'points_per_side is {self.points_per_side}; 1..128')
        if not 1 <= self.points_per_batch <= 1024:
            raise ValueError(f'points_per_batch is {self.points_per_batch}; 1..1024')
        for name in (
            *('min_predicted_iou', 'min_stability', 'max_box_iou', 'max_mask_iou', 'max_area'),
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}; 0..1')
        for name in ('min_region', 'min_area'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} is {getattr(self, name)}; pixels, at least 0')

    @classmethod
    def of(cls, model: str, **changes: Any) -> EverythingOptions:
        """Return the options that suit a model of the catalogue.

        The official thresholds suit the official models. The bundled one is less sure of its
        masks, and would find next to nothing with them.

        Args:
            model: name in the catalogue.
            changes: options by name that replace those.

        Raises:
            ValueError: a value is out of its range.
        """
        return cls(**{**(_BUNDLED if model.startswith(_BUNDLED_NAMES) else {}), **changes})


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mask that everything mode found.

    Attributes:
        mask: bool [H, W].
        box: (x0, y0, x1, y1) of the mask in pixels, x1 and y1 exclusive.
        area: of the mask, pixels.
        predicted_iou: see `Segmentation`; its `quality`.
        stability: see `Segmentation`.
        point: (x, y) of the click that found it, pixels.
    """

    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    stability: float
    point: tuple[float, float]


class _Found(NamedTuple):
    """A mask in the size that the network predicts: thousands of image size need gigabytes.

    Attributes:
        logits: [M, M].
        box: see `Proposal`.
        predicted_iou: see `Proposal`.
        stability: see `Proposal`.
        point: see `Proposal`.
    """

    logits: Floats
    box: tuple[int, int, int, int]
    predicted_iou: float
    stability: float
    point: tuple[float, float]


def propose(
    model: PromptableModel, embedding: Embedding, options: EverythingOptions
) -> list[Proposal]:
    """Segment everything that a grid of clicks finds; the best first, by predicted IoU."""
    clicks = grid(options.points_per_side, embedding.size)
    found = [
        one
        for start in range(0, len(clicks), options.points_per_batch)
        for one in _found_by(
            clicks[start : start + options.points_per_batch], model, embedding, options
        )
    ]
    found.sort(key=lambda one: -one.predicted_iou)
    found = [found[i] for i in distinct(np.array([one.box for one in found]), options.max_box_iou)]
    found = [found[i] for i in _distinct_masks(found, options.max_mask_iou)]
    proposals = [_proposal(one, model.enlarge(one.logits, embedding.size) > 0) for one in found]
    if options.min_region:
        proposals = _without_small_regions(proposals, options)
    return [one for one in proposals if one.area >= options.min_area]


def grid(points_per_side: int, size: tuple[int, int]) -> Floats:
    """Return clicks spread evenly over an image of `size` (height, width): [n * n, 2], (x, y)."""
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(centres * size[1], centres * size[0])
    return np.stack((x.ravel(), y.ravel()), -1).astype(np.float32)


def _found_by(
    clicks: Floats, model: PromptableModel, embedding: Embedding, options: EverythingOptions
) -> Iterator[_Found]:
    """Decode a batch of clicks [B, 2] and yield the masks that are good enough."""
    logits, ious, points = _predict(clicks, model, embedding, options)
    height, width = embedding.size
    largest = options.max_area * height * width
    for index in np.flatnonzero(ious > options.min_predicted_iou):
        enlarged = model.enlarge(logits[index], embedding.size)
        stability = stability_of(enlarged)
        if stability < options.min_stability:
            continue
        mask = enlarged > 0
        box = bounding_box(mask)
        if box is None or np.count_nonzero(mask) > largest:
            continue
        x, y = points[index].tolist()
        # A copy: a view would keep all candidates of the batch in memory.
        yield _Found(logits[index].copy(), box, float(ious[index]), stability, (x, y))


def _predict(
    clicks: Floats, model: PromptableModel, embedding: Embedding, options: EverythingOptions
) -> tuple[Floats, Floats, Floats]:
    """Return all masks of a batch of clicks: logits [N, M, M], predicted IoUs [N], clicks [N, 2].

    N is three times the number of clicks.
    """
    decoded = model.decode(embedding, _as_prompts(clicks))
    logits = decoded.logits[:, 1:].reshape(-1, *decoded.logits.shape[2:])
    ious = model.quality(decoded)[:, 1:].reshape(-1)
    points = np.repeat(clicks, CANDIDATES - 1, axis=0)
    if not options.refine:
        return logits, ious, points
    parts = []
    for start in range(0, len(points), options.points_per_batch):
        part = slice(start, start + options.points_per_batch)
        previous = logits[part].clip(-LOGIT_LIMIT, LOGIT_LIMIT)
        decoded = model.decode(embedding, _as_prompts(points[part], previous))
        rows, chosen = np.arange(len(decoded.ious)), model.choose(decoded)
        parts.append((decoded.logits[rows, chosen], model.quality(decoded)[rows, chosen]))
    refined, refined_ious = map(np.concatenate, zip(*parts, strict=True))
    return refined, refined_ious, points


def _as_prompts(clicks: Floats, masks: Floats | None = None) -> PromptBatch:
    return PromptBatch(clicks[:, None], np.ones((len(clicks), 1), np.int64), masks)


def _proposal(one: _Found, mask: NDArray[np.bool_]) -> Proposal:
    area = int(np.count_nonzero(mask))
    return Proposal(mask, one.box, area, one.predicted_iou, one.stability, one.point)


# --- which masks are the same object ---


def distinct(boxes: NDArray[np.int64], max_iou: float) -> list[int]:
    """Return the indices of the boxes [N, 4], best first, that no better one overlaps too much."""
    if max_iou >= 1 or not len(boxes):
        return list(range(len(boxes)))
    # Distances between the centres of the outermost pixels, as the official code computes them.
    low, high = boxes[:, :2], boxes[:, 2:] - 1
    area = (high - low).prod(1)
    sides = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = sides.clip(0).prod(2)
    return _greedy(shared, area, max_iou)


def _distinct_masks(found: list[_Found], max_iou: float) -> list[int]:
    """Return the indices of the masks, best first, that no better one overlaps too much."""
    if max_iou >= 1 or not found:
        return list(range(len(found)))
    pixels = np.stack([one.logits.ravel() > 0 for one in found]).astype(np.float32)
    return _greedy(pixels @ pixels.T, pixels.sum(1), max_iou)


def _greedy(shared: NDArray[Any], area: NDArray[Any], max_iou: float) -> list[int]:
    """Keep each item that shares at most `max_iou` with every better one that is kept.

    Args:
        shared: area that two items have in common [N, N].
        area: area of each item [N].
        max_iou: limit of the intersection over union.
    """
    union = area[:, None] + area[None] - shared
    overlaps = shared > max_iou * union
    left = np.ones(len(area), bool)
    kept = []
    for index in range(len(area)):
        if left[index]:
            kept.append(index)
            left &= ~overlaps[index]
    return kept


# --- small regions ---


def _without_small_regions(
    proposals: list[Proposal], options: EverythingOptions
) -> list[Proposal]:
    """Fill small holes and remove small parts of the masks, and what is then found twice.

    Of two masks that have become the same, one that was not changed is preferred, as in the
    official code.
    """
    cleaned = []
    for one in proposals:
        mask = remove_small_regions(one.mask, options.min_region)
        box = bounding_box(mask)
        assert box is not None
        changed = replace(one, mask=mask, box=box, area=int(np.count_nonzero(mask)))
        cleaned.append((mask is not one.mask, changed))
    cleaned.sort(key=lambda item: item[0])
    boxes = np.array([one.box for _, one in cleaned])
    kept = [cleaned[index][1] for index in distinct(boxes, options.max_box_iou)]
    return sorted(kept, key=lambda one: -one.predicted_iou)


def remove_small_regions(mask: NDArray[np.bool_], min_region: int) -> NDArray[np.bool_]:
    """Fill holes and remove parts that have fewer pixels than `min_region`.

    The largest part stays, whatever its size. If nothing changes, the mask itself is returned.
    """
    holes, sizes = _regions(~mask)
    small = sizes < min_region
    small[0] = False
    if small.any():
        mask = mask | small[holes]
    parts, sizes = _regions(mask)
    small = sizes < min_region
    small[0] = False
    if small[1:].any() and len(sizes) > 1:
        small[1 + sizes[1:].argmax()] = False
    if small.any():
        mask = mask & ~small[parts]
    return mask


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the number of each pixel's connected region, 0 outside the mask, and their sizes."""
    _, numbers, statistics, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=8
    )
    return np.asarray(numbers), np.asarray(statistics[:, cv2.CC_STAT_AREA])
