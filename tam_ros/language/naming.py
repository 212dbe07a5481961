# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Names for what is tracked: CLIP's features pooled over a mask and compared with a vocabulary.

This is the frozen half of Open-Vocabulary SAM (Yuan et al., arXiv 2401.02955), which needs no
training: mask pooling, several prototypes of a class, and the geometric ensemble with another
classifier. A name is that of the average over a track's life, and changes with hysteresis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tam_ros.language.arrays import Floats, linear, unit
from tam_ros.language.refinement import SCALE, softmax

BASE, NOVEL = 1, 2
"""Classes that the other classifier was trained with, and those that it was not."""

IN_NEITHER = -1000.0  # logit of other classes


def pool(features: Floats, mask_logits: Floats) -> Floats:
    """Average features over masks.

    Args:
        features: float32 [C, h, w].
        mask_logits: float32 [N, H, W], of any size; they are resized to the features' size and
            are positive on the object.

    Returns:
        float32 [N, C]; zeros where a mask is positive at no place of the features.

    Raises:
        ValueError: an array has another number of dimensions.
    """
    if features.ndim != 3 or mask_logits.ndim != 3:
        raise ValueError(
            f'features have the shape {features.shape}, not [C, h, w], or masks '
            f'{mask_logits.shape}, not [N, H, W]'
        )
    height, width = features.shape[1:]
    rows, columns = linear(height, mask_logits.shape[1]), linear(width, mask_logits.shape[2])
    inside = (rows @ mask_logits.astype(np.float32) @ columns.T > 0).astype(np.float32)
    weights = inside / (inside.sum(axis=(1, 2), keepdims=True) + 1e-8)
    return np.asarray(
        weights.reshape(-1, height * width) @ features.reshape(-1, height * width).T, np.float32
    )


def similarity(pooled: Floats, prototypes: Floats, scale: float = SCALE) -> Floats:
    """Compare pooled features with the prototypes of classes.

    Args:
        pooled: float32 [N, C]; the length does not matter.
        prototypes: float32 [K, P, C] of length 1: several for each class, of which the most
            similar one counts. Zeros make a class whose similarity is always 0, which is how the
            paper treats the background.
        scale: CLIP's factor.

    Returns:
        float32 [N, K], `scale` times the cosine similarity.

    Raises:
        ValueError: the shapes do not fit.
    """
    if prototypes.ndim != 3 or pooled.ndim != 2 or pooled.shape[1] != prototypes.shape[2]:
        raise ValueError(
            f'pooled features {pooled.shape} and prototypes {prototypes.shape} do not fit; '
            'they are [N, C] and [K, P, C]'
        )
    classes, count, channels = prototypes.shape
    found = unit(pooled) @ prototypes.reshape(classes * count, channels).T
    return np.asarray(scale * found.reshape(-1, classes, count).max(axis=2), np.float32)


def ensemble(
    head: Floats,
    clip: Floats,
    base_or_novel: Sequence[int] | NDArray[np.int64],
    alpha: float = 0.1,
    beta: float = 0.9,
) -> Floats:
    """Combine a trained classifier with CLIP: `log(p_head^(1 - a) * p_clip^a)`.

    Args:
        head: float32 [N, K] logits of the trained classifier. A further last column is the
            background.
        clip: the same of `similarity`.
        base_or_novel: K numbers: `BASE`, `NOVEL`, or 0 for classes that get -1000.
        alpha: a of base classes and of the background: the head knows them.
        beta: a of novel classes.

    Returns:
        float32 [N, K], or with the background [N, K + 1].

    Raises:
        ValueError: the shapes do not fit.
    """
    kinds = np.asarray(base_or_novel)
    if head.shape != clip.shape or head.ndim != 2 or head.shape[1] - len(kinds) not in (0, 1):
        raise ValueError(
            f'the logits {head.shape} and {clip.shape} do not fit each other or '
            f'{len(kinds)} classes'
        )
    kinds = np.append(kinds, [BASE] * (head.shape[1] - len(kinds)))
    part = np.where(kinds == NOVEL, beta, alpha).astype(np.float32)
    combined = (1 - part) * _log_softmax(head) + part * _log_softmax(clip)
    return np.asarray(np.where(np.isin(kinds, (BASE, NOVEL)), combined, IN_NEITHER), np.float32)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)


@dataclass(frozen=True)
class Name:
    """The name of a track.

    Attributes:
        index: class in the vocabulary.
        score: its probability among the vocabulary, by the average over the track's life.
    """

    index: int
    score: float


@dataclass
class _Track:
    total: Floats
    looks: int = 0
    shown: int | None = None


class TrackNames:
    """Names of tracks over time.

    The unit features of all looks at a track are averaged, so that each look weighs the same and
    one bad view changes little. The name that is shown is replaced by another one only when that
    is more probable by `margin`, so that two similar words do not alternate.
    """

    def __init__(self, prototypes: Floats, *, least: float = 0.0, margin: float = 0.1) -> None:
        """Start without tracks.

        Args:
            prototypes: as for `similarity`.
            least: probability below which a track gets no name.
            margin: probability by which another name must lead, 0 to 1.

        Raises:
            ValueError: the prototypes have another shape or no class, or a number is not in 0..1.
        """
        if prototypes.ndim != 3 or 0 in prototypes.shape:
            raise ValueError(f'prototypes have the shape {prototypes.shape}, not [K, P, C]')
        for name, value in (('least', least), ('margin', margin)):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} is {value}, not in 0..1')
        self._prototypes = prototypes
        self._least, self._margin = least, margin
        self._tracks: dict[int, _Track] = {}

    def look(self, ids: Sequence[int], pooled: Floats) -> None:
        """Add one look at some of the tracks.

        Args:
            ids: of the tracks.
            pooled: float32 [N, C], see `pool`. Zeros, of a mask that is too small, are no look.
        """
        for track, feature in zip(ids, pooled, strict=True):
            if feature.any() and np.isfinite(feature).all():
                known = self._tracks.setdefault(track, _Track(np.zeros_like(feature)))
                known.total = known.total + unit(feature)
                known.looks += 1

    def name(self, track: int) -> Name | None:
        """Return the name of a track; None without a look at it, or if nothing is likely enough.

        Calling it again without a look gives the same name.
        """
        known = self._tracks.get(track)
        if known is None:
            return None
        likely = softmax(similarity(known.total[None], self._prototypes)[0])
        best = int(likely.argmax())
        if known.shown is None or likely[best] > likely[known.shown] + self._margin:
            known.shown = best
        score = float(likely[known.shown])
        return Name(known.shown, score) if score >= self._least else None

    def looks(self, track: int) -> int:
        """Return how often a track was looked at."""
        return self._tracks[track].looks if track in self._tracks else 0

    def keep(self, ids: Iterable[int]) -> None:
        """Forget all tracks but these."""
        kept = set(ids)
        self._tracks = {track: one for track, one in self._tracks.items() if track in kept}
