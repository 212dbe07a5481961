# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Which boxes of a detector's message are used, in pixels of the image, and why others are not."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tam_ros.printable import MAX_NAME, printable
from tam_ros.prompting.published_images import Box

MAX_DETECTIONS = 100
"""Maximum number of detections used per message: those with the highest scores."""

PIXELS, NORMALIZED = 'pixels', 'normalized'
_SIZE = re.compile(r'([1-9]\d{0,5})x([1-9]\d{0,5})')
_MAX_NAMED = 5  # classes that an explanation lists
_NORMALIZED_EDGE = 1.5  # boxes of normalized coordinates may reach a little over the image


@dataclass(frozen=True)
class Detection:
    """One box of a detector.

    Attributes:
        box: x0, y0, x1, y1.
        label: class name, or empty; one printable line of at most `MAX_NAME` characters.
        score: confidence, 0 to 1, or in percent if it is above 1; 0: the detector gives none.
        mask: bool [H, W] of the image, or None: the detector makes none.
    """

    box: Box
    label: str = ''
    score: float = 1.0
    mask: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make the class name fit for results and logs."""
        object.__setattr__(self, 'label', printable(self.label, MAX_NAME))

    @property
    def usable(self) -> bool:
        """Whether all numbers are finite and the box is not empty."""
        x0, y0, x1, y1 = self.box
        return bool(np.isfinite((*self.box, self.score)).all()) and x1 > x0 and y1 > y0


@dataclass(frozen=True)
class FilterRules:
    """Rules for which detections are used.

    Attributes:
        classes: labels that are used; empty: all.
        min_score: lowest score that is used.
        coordinates: what the boxes are measured in: `pixels` of the image, `normalized` (0 to 1
            over the image), or the size `WIDTHxHEIGHT` of the detector's own images.
    """

    classes: Collection[str] = ()
    min_score: float = 0.0
    coordinates: str = PIXELS


class Reason(Enum):
    """Why a detection is not used; the values are keys of the diagnostics."""

    BOX = 'box'
    SCORE = 'score'
    CLASS = 'class'
    OUTSIDE = 'outside'
    RANK = 'rank'


class Selection(NamedTuple):
    """The detections of one message.

    Attributes:
        used: those that are used, clipped to the image, in its pixels, highest score first.
        dropped: the others, unchanged, by the reason.
    """

    used: list[Detection]
    dropped: Mapping[Reason, list[Detection]]


class Explanation(NamedTuple):
    """Why detections are not used.

    Attributes:
        text: one line.
        mistake: whether the detector or the parameters are probably wrong; otherwise this is what
            the parameters are for.
    """

    text: str
    mistake: bool


def wrong_coordinates(text: str) -> str | None:
    """Return what is wrong with `FilterRules.coordinates`, or None."""
    if text in (PIXELS, NORMALIZED) or _SIZE.fullmatch(text):
        return None
    return f'{text!r} is neither {PIXELS} nor {NORMALIZED} nor a size such as 640x480'


def select(
    detections: Sequence[Detection], size: tuple[int, int], rules: FilterRules
) -> Selection:
    """Select the detections of one message.

    Args:
        detections: in the coordinates of `rules`.
        size: height and width of the image.
        rules: the rules to apply.
    """
    dropped: dict[Reason, list[Detection]] = {}
    used = []
    for one in detections:
        reason, found = _judge(one, size, rules)
        if reason is None:
            used.append(found)
        else:
            dropped.setdefault(reason, []).append(one)
    used.sort(key=lambda one: -one.score)
    if used[MAX_DETECTIONS:]:
        dropped[Reason.RANK] = used[MAX_DETECTIONS:]
    return Selection(used[:MAX_DETECTIONS], dropped)


def explain(
    reason: Reason, dropped: Sequence[Detection], size: tuple[int, int], rules: FilterRules
) -> Explanation:
    """Return why detections were not used, and which parameter changes it.

    Args:
        reason: a reason of `Selection.dropped`.
        dropped: the detections that were not used for it.
        size: height and width of the image.
        rules: the rules that were applied.
    """
    if reason is Reason.BOX:
        return Explanation('the box is empty or not finite', True)
    if reason is Reason.RANK:
        return Explanation(f'only the {MAX_DETECTIONS} with the highest scores are used', False)
    if reason is Reason.SCORE:
        highest = max(_score(one) for one in dropped)
        if highest == 0:
            return Explanation(
                'they have no score (no hypothesis, or score 0): to use them, set '
                'detection_min_score to 0',
                True,
            )
        return Explanation(
            f'the score is at most {highest:.2f}, below detection_min_score {rules.min_score:g}',
            False,
        )
    if reason is Reason.CLASS:
        labels = sorted({one.label for one in dropped})
        names = ', '.join(label or 'no class' for label in labels[:_MAX_NAMED])
        more = ' and others' if labels[_MAX_NAMED:] else ''
        return Explanation(
            f'detection_classes ({", ".join(sorted(rules.classes))}) does not have {names}{more}',
            False,
        )
    height, width = size
    right, bottom = (max(one.box[edge] for one in dropped) for edge in (2, 3))
    if rules.coordinates == PIXELS and max(right, bottom) <= _NORMALIZED_EDGE:
        return Explanation(
            'the boxes are smaller than a pixel, between 0 and 1: set detection_coordinates to '
            'normalized',
            True,
        )
    return Explanation(
        f'the boxes reach to x {right:g}, y {bottom:g} and are outside the image of '
        f'{width}x{height}, or less than a pixel of them is inside: set detection_coordinates to '
        f'the size of the images of the detector, WIDTHxHEIGHT',
        True,
    )


def _judge(
    one: Detection, size: tuple[int, int], rules: FilterRules
) -> tuple[Reason | None, Detection]:
    """Return why a detection is not used, and the detection in pixels of the image."""
    if not one.usable:
        return Reason.BOX, one
    if rules.classes and one.label not in rules.classes:
        return Reason.CLASS, one
    score = _score(one)
    if score < rules.min_score:
        return Reason.SCORE, one
    height, width = size
    across, down = _scale(rules.coordinates, size)
    x0, y0, x1, y1 = one.box
    box = (
        max(x0 * across, 0.0),
        max(y0 * down, 0.0),
        min(x1 * across, float(width)),
        min(y1 * down, float(height)),
    )
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        return Reason.OUTSIDE, one
    return None, replace(one, box=box, score=score)


def _score(one: Detection) -> float:
    """Return the score as 0 to 1; only a score in percent is above 1."""
    return one.score / 100 if one.score > 1 else one.score


def _scale(coordinates: str, size: tuple[int, int]) -> tuple[float, float]:
    """Return the pixels per unit of the coordinates, across and down."""
    height, width = size
    if coordinates == NORMALIZED:
        return float(width), float(height)
    if found := _SIZE.fullmatch(coordinates):
        return width / int(found[1]), height / int(found[2])
    return 1.0, 1.0
