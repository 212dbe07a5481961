# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Draws masks, outlines and names over a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from tam_ros.drawing.palette import colour

_NO_NAMES: Mapping[int, str] = {}

_OPACITY = 0.45
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(
    rgb: np.ndarray,
    labels: np.ndarray,
    objects: Iterable[Any] = (),
    names: Mapping[int, str] = _NO_NAMES,
) -> np.ndarray:
    """Draw tracked objects over an image.

    Args:
        rgb: uint8 [H, W, 3].
        labels: [H, W] of any integer type; 0 is background, other values are object ids.
        objects: `TrackedObject`s or others with `id`, `state` and `score`. Each gets a tag; those
            without a mask are listed in the corner.
        names: names of the objects by id, for their tags.

    Returns:
        A new uint8 RGB [H, W, 3].

    Raises:
        ValueError: the two images differ in size.
    """
    if labels.shape != rgb.shape[:2]:
        raise ValueError(f'labels of {labels.shape} do not fit an image of {rgb.shape[:2]}')
    drawn: np.ndarray = rgb.copy()
    scale = max(0.5, min(rgb.shape[:2]) / 650)
    anchors = {}
    for object_id in np.unique(labels[labels > 0]).tolist():
        mask = (labels == object_id).view(np.uint8)
        anchors[object_id] = _draw_mask(drawn, mask, colour(object_id), scale)
    unseen = []
    for item in objects:
        title = f'{item.id} {names.get(item.id, "")}'.rstrip()
        if item.id in anchors:
            _draw_tag(drawn, f'{title}  {item.score:.2f}', anchors[item.id], item.id, scale)
        else:
            unseen.append((item, title))
    line = round(34 * scale)
    for row, (item, title) in enumerate(unseen):
        state = str(getattr(item.state, 'value', item.state))
        _draw_tag(drawn, f'{title}  {state}', (6, line + row * line), item.id, scale)
    return drawn


def draw_detections(rgb: np.ndarray, found: Any) -> np.ndarray:
    """Draw what a detector found over an image.

    Args:
        rgb: uint8 [H, W, 3].
        found: `tam_ros.detection.Detections` of the image. Colours are those of classes, or differ
            between objects that have no class; where there are no masks, boxes are drawn.

    Returns:
        A new uint8 RGB [H, W, 3].
    """
    drawn: np.ndarray = rgb.copy()
    scale = max(0.5, min(rgb.shape[:2]) / 650)
    named = any(found.labels)
    tags = []
    for index in reversed(range(len(found))):  # the best one last, above the others
        number = int(found.class_ids[index]) + 1 if named else index + 1
        left, top, right, bottom = map(round, found.boxes[index].tolist())
        if found.masks is not None and found.masks[index].any():
            _draw_mask(drawn, found.masks[index].view(np.uint8), colour(number), scale)
        width = max(1, round(1.5 * scale))
        cv2.rectangle(drawn, (left, top), (right, bottom), colour(number), width)
        title = f'{found.labels[index]} {found.scores[index]:.2f}'.lstrip()
        tags.append((title, (left, max(top - 4, round(24 * scale))), number))
    for tag in tags:
        _draw_tag(drawn, *tag, scale)
    return drawn


def outline(
    rgb: np.ndarray, labels: np.ndarray, object_id: int, tint: tuple[int, int, int]
) -> None:
    """Draw the outline of one object of a label image in place, one pixel wide, in colour."""
    mask = (labels == object_id).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(rgb, contours, -1, tint, 1)


def _draw_mask(
    drawn: np.ndarray, mask: np.ndarray, tint: tuple[int, int, int], scale: float
) -> tuple[int, int]:
    """Tint and outline a mask in place; return the position (x, y) of its tag in pixels."""
    left, top, width, height = cv2.boundingRect(mask)
    window = (slice(top, top + height), slice(left, left + width))
    part = drawn[window]
    tinted = cv2.addWeighted(part, 1 - _OPACITY, np.full_like(part, tint), _OPACITY, 0)
    cv2.copyTo(tinted, mask[window], part)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, tint, max(1, round(2.5 * scale)), cv2.LINE_AA)
    return left, max(top - 4, round(24 * scale))


def _draw_tag(
    drawn: np.ndarray, text: str, anchor: tuple[int, int], object_id: int, scale: float
) -> None:
    """Write `text` in a box of the object's colour whose lower left corner is near `anchor`."""
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    if height + below + 6 > drawn.shape[0]:  # it would hide the image
        return
    x = int(np.clip(anchor[0], 0, max(drawn.shape[1] - width - 8, 0)))
    y = int(np.clip(anchor[1], height + 6, drawn.shape[0] - below - 1))
    tint = colour(object_id)
    cv2.rectangle(drawn, (x, y - height - 5), (x + width + 8, y + below), tint, cv2.FILLED)
    ink = (0, 0, 0) if sum(tint) > 330 else (255, 255, 255)
    cv2.putText(drawn, text, (x + 4, y - 1), _FONT, scale, ink, 1, cv2.LINE_AA)
