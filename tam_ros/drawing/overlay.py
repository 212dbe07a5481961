# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Masks, outlines and names drawn over a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from tam_ros.drawing.palette import colour

NAMELESS: Mapping[int, str] = {}

_OPACITY = 0.45
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(
    rgb: np.ndarray,
    labels: np.ndarray,
    objects: Iterable[Any] = (),
    names: Mapping[int, str] = NAMELESS,
) -> np.ndarray:
    """Draw followed objects over a picture.

    Args:
        rgb: uint8 [H, W, 3].
        labels: [H, W] of any integer type, 0 background, else the object id.
        objects: what has `id`, `state` and `score` of each object (`TrackedObject`s). Where given,
            a tag is drawn for every one of them; those not seen are listed in the corner.
        names: of objects, by id, for their tags.

    Returns:
        A new uint8 RGB [H, W, 3].

    Raises:
        ValueError: the two images differ in size.
    """
    if labels.shape != rgb.shape[:2]:
        raise ValueError(f'labels of {labels.shape} do not fit a picture of {rgb.shape[:2]}')
    drawn = rgb.copy()
    scale = max(0.5, min(rgb.shape[:2]) / 650)
    places = {}
    for object_id in np.unique(labels[labels > 0]).tolist():
        mask = (labels == object_id).view(np.uint8)
        places[object_id] = _draw_mask(drawn, mask, colour(object_id), scale)
    unseen = []
    for item in objects:
        called = f'{item.id} {names.get(item.id, "")}'.rstrip()
        if item.id in places:
            _draw_tag(drawn, f'{called}  {item.score:.2f}', places[item.id], item.id, scale)
        else:
            unseen.append((item, called))
    line = round(34 * scale)
    for row, (item, called) in enumerate(unseen):
        state = str(getattr(item.state, 'value', item.state))
        _draw_tag(drawn, f'{called}  {state}', (6, line + row * line), item.id, scale)
    return drawn


def outline(
    rgb: np.ndarray, labels: np.ndarray, object_id: int, line: tuple[int, int, int]
) -> None:
    """Draw the outline of one object of a label image in one colour, in place, one pixel wide."""
    mask = (labels == object_id).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(rgb, contours, -1, line, 1)


def _draw_mask(
    drawn: np.ndarray, mask: np.ndarray, tint: tuple[int, int, int], scale: float
) -> tuple[int, int]:
    """Tint and outline a mask in place; return where its tag goes, (x, y) in pixels."""
    left, top, width, height = cv2.boundingRect(mask)
    window = (slice(top, top + height), slice(left, left + width))
    part = drawn[window]
    tinted = cv2.addWeighted(part, 1 - _OPACITY, np.full_like(part, tint), _OPACITY, 0)
    cv2.copyTo(tinted, mask[window], part)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, tint, max(1, round(2.5 * scale)), cv2.LINE_AA)
    return left, max(top - 4, round(24 * scale))


def _draw_tag(
    drawn: np.ndarray, text: str, place: tuple[int, int], object_id: int, scale: float
) -> None:
    """Write `text` in a box of the object's colour whose lower left corner is near `place`."""
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    x = int(np.clip(place[0], 0, max(drawn.shape[1] - width - 8, 0)))
    y = int(np.clip(place[1], height + 6, drawn.shape[0] - below - 1))
    tint = colour(object_id)
    cv2.rectangle(drawn, (x, y - height - 5), (x + width + 8, y + below), tint, cv2.FILLED)
    ink = (0, 0, 0) if sum(tint) > 330 else (255, 255, 255)
    cv2.putText(drawn, text, (x + 4, y - 1), _FONT, scale, ink, 1, cv2.LINE_AA)
