# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Layers of a drawn clip: a background, moving things in front of it, and their truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training import drawing, motion
from training.sources import LabelledImage, Sources

Rng = np.random.Generator


@dataclass
class Part:
    """A rigid textured piece of a thing.

    Attributes:
        rgb: uint8 [h, w, 3].
        alpha: uint8 [h, w].
        local: float64 [frames, 3, 3], sprite pixels -> the thing's units (its width = 1).
    """

    rgb: np.ndarray
    alpha: np.ndarray
    local: np.ndarray


@dataclass
class Thing:
    """Something that moves: one or more parts under one pose.

    Attributes:
        parts: painted in order.
        pose: float64 [frames, 3, 3], the thing's units -> world pixels.
        elastic: deformation, or None for a rigid thing.
        present: bool [frames]; an absent thing is not painted.
        labelled: False for distractors and occluders.
        gain: float [frames], brightness of its own.
    """

    parts: list[Part]
    pose: np.ndarray
    elastic: motion.Elastic | None
    present: np.ndarray
    labelled: bool
    gain: np.ndarray


@dataclass
class Background:
    """The background image, which may have labelled objects of its own.

    Attributes:
        rgb: uint8 [h, w, 3].
        labels: uint8 [h, w]; the values in `chosen` are objects of the clip.
        chosen: label values, in the order of the clip's object numbers.
        pose: float64 [3, 3], image pixels -> world pixels.
        elastic: deformation of the whole image, or None.
    """

    rgb: np.ndarray
    labels: np.ndarray
    chosen: list[int]
    pose: np.ndarray
    elastic: motion.Elastic | None


def _paint(
    canvas: np.ndarray,
    labels: np.ndarray,
    part: Part,
    matrix: np.ndarray,
    elastic: motion.Elastic | None,
    frame: int,
    gain: float,
    label: int,
) -> None:
    """Paint one part in place; pixels it covers by half or more take its label."""
    height, width = part.alpha.shape
    size = canvas.shape[0]
    corners = matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1.0]])
    pad = 2 if elastic is None else 6 + int(2.5 * np.abs(elastic.grid).max())
    x0, y0 = np.maximum(np.floor(corners[:2].min(1)).astype(int) - pad, 0)
    x1, y1 = np.minimum(np.ceil(corners[:2].max(1)).astype(int) + pad, size)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    inverse = np.linalg.inv(matrix)
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    if elastic is not None:
        # One field over the whole image, so that the parts of a thing deform together.
        shift = elastic.at(frame, size, size)[y0:y1, x0:x1]
        xs, ys = xs + shift[..., 0], ys + shift[..., 1]
    a, b, c = inverse[0].astype(np.float32)
    d, e, f = inverse[1].astype(np.float32)
    map_x, map_y = a * xs + b * ys + c, d * xs + e * ys + f
    rgb = cv2.remap(part.rgb, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(
        part.alpha, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    weight = alpha.astype(np.float32)[..., None] * (1 / 255)
    window = canvas[y0:y1, x0:x1]
    window += weight * (rgb.astype(np.float32) * gain - window)
    labels[y0:y1, x0:x1][alpha >= 128] = label


def paint(
    background: Background, things: list[Thing], camera: np.ndarray, frame: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One frame of a scene.

    Returns:
        The image, float32 [size, size, 3] in 0..255, and the labels of visible objects,
        uint8 [size, size]: 0 = nothing labelled, then the background's chosen objects, then the
        labelled things in order.
    """
    inverse = np.linalg.inv(camera[frame] @ background.pose)
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    if background.elastic is not None:
        shift = background.elastic.at(frame, size, size)
        xs, ys = xs + shift[..., 0], ys + shift[..., 1]
    a, b, c = inverse[0].astype(np.float32)
    d, e, f = inverse[1].astype(np.float32)
    map_x, map_y = a * xs + b * ys + c, d * xs + e * ys + f
    canvas = cv2.remap(
        background.rgb, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    ).astype(np.float32)
    if background.chosen:
        table = np.zeros(256, np.uint8)
        table[background.chosen] = np.arange(1, len(background.chosen) + 1)
        labels = cv2.remap(
            table[background.labels],
            map_x,
            map_y,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_REFLECT,
        )
    else:
        labels = np.zeros((size, size), np.uint8)
    number = len(background.chosen)
    for thing in things:
        number += int(thing.labelled)
        if thing.present[frame]:
            for part in thing.parts:
                _paint(
                    canvas,
                    labels,
                    part,
                    camera[frame] @ thing.pose[frame] @ part.local[frame],
                    thing.elastic,
                    frame,
                    float(thing.gain[frame]),
                    number if thing.labelled else 0,
                )
    return canvas, labels


def _fit(rgb: np.ndarray, alpha: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Shrink a sprite so that its longer side is at most `side` (no aliasing later)."""
    factor = side / max(alpha.shape)
    if factor >= 1:
        return rgb, alpha
    shape = (max(4, int(alpha.shape[1] * factor)), max(4, int(alpha.shape[0] * factor)))
    return (
        cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA),
        cv2.resize(alpha, shape, interpolation=cv2.INTER_AREA),
    )


def cut_out(rng: Rng, image: LabelledImage, side: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a labelled object of an image as a sprite; None if it is too small or too large."""
    areas = np.bincount(image.labels.ravel(), minlength=256)
    share = areas / image.labels.size
    candidates = [v for v in range(1, 256) if areas[v] > 1500 and share[v] < 0.7]
    if not candidates:
        return None
    mask = (image.labels == candidates[rng.integers(len(candidates))]).astype(np.uint8)
    x, y, w, h = cv2.boundingRect(mask)
    rgb = image.rgb[y : y + h, x : x + w]
    # Hand-drawn polygons run a little outside the object: trim one pixel, then feather.
    alpha = cv2.erode(mask[y : y + h, x : x + w] * 255, np.ones((3, 3), np.uint8))
    alpha = cv2.GaussianBlur(cv2.copyMakeBorder(alpha, 2, 2, 2, 2, cv2.BORDER_CONSTANT), (3, 3), 0)
    return _fit(cv2.copyMakeBorder(rgb, 2, 2, 2, 2, cv2.BORDER_REPLICATE), alpha, side)


def _static(alpha: np.ndarray, frames: int) -> np.ndarray:
    """Placement of a single-part sprite: centred, its longer side = 1."""
    height, width = alpha.shape
    scale = 1 / max(height, width)
    matrix = motion.affine(0, 0, 0, scale, scale) @ motion.affine(-width / 2, -height / 2, 0, 1, 1)
    return np.broadcast_to(matrix, (frames, 3, 3))


def drawn_parts(rng: Rng, sources: Sources, frames: int, side: int) -> list[Part]:
    """A drawn thing: one silhouette (often with inner patches) or a jointed chain of them."""
    size = min(192, max(48, side))
    parts: list[Part] = []
    if rng.random() < 0.7:
        alpha = drawing.silhouette(rng, size)
        rgb = drawing.any_texture(rng, sources, size)
        for _ in range(int(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1)))):  # inner patches
            inner = cv2.resize(drawing.silhouette(rng, size), None, fx=0.5, fy=0.5)
            y, x = rng.integers(0, size - inner.shape[0], 2)
            window = rgb[y : y + inner.shape[0], x : x + inner.shape[1]].copy()
            weight = inner[..., None].astype(np.float32) / 255
            fill = drawing.any_texture(rng, sources, inner.shape[0])
            rgb = rgb.copy()
            rgb[y : y + inner.shape[0], x : x + inner.shape[1]] = window + weight * (
                fill.astype(np.float32) - window
            )
        return [Part(rgb, alpha, _static(alpha, frames))]
    shared = drawing.any_texture(rng, sources, size) if rng.random() < 0.4 else None
    parent = np.broadcast_to(
        motion.affine(rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), rng.uniform(0, 6.3), 1, 1),
        (frames, 3, 3),
    )
    branching = rng.random() < 0.5  # limbs of one body, or links of a chain
    for number in range(int(rng.integers(2, 6))):
        alpha = drawing.silhouette(rng, size)
        rgb = shared if shared is not None else drawing.any_texture(rng, sources, size)
        length = rng.uniform(0.35, 0.6) if number else rng.uniform(0.45, 0.75)
        width = length * rng.uniform(0.25, 0.9)
        swing = (
            rng.uniform(0, 6.3) + motion.curve(rng, frames, 0.5, 0.5)
            if number
            else (np.zeros(frames))
        )
        joint = np.stack([parent[t] @ motion.affine(0, 0, swing[t], 1, 1) for t in range(frames)])
        lift = 0.0 if number == 0 else length * 0.42
        shape = motion.affine(lift, 0, 0, length / size, width / size) @ motion.affine(
            -size / 2, -size / 2, 0, 1, 1
        )
        parts.append(Part(rgb, alpha, joint @ shape))
        if number == 0 or not branching:
            end = motion.affine(length * (0.3 if number == 0 else 0.8), 0, 0, 1, 1)
            parent = joint @ end
    return parts[::-1] if rng.random() < 0.5 else parts


def random_thing(
    rng: Rng,
    sources: Sources,
    frames: int,
    size: int,
    *,
    real: float,
    labelled: bool = True,
    absence: float = 0.24,
    footage: bool = False,
) -> Thing:
    """A thing with a motion of its own.

    Args:
        rng: source of randomness.
        sources: images for cut-outs and textures.
        frames: length of the clip.
        size: side of the image in pixels.
        real: probability of a cut-out of a photograph (else drawn or a colour region).
        labelled: False for a distractor or an occluder.
        absence: probability of leaving the image, or disappearing, for a while.
        footage: cut out of annotated videos as well.
    """
    diameter = size * float(np.exp(rng.uniform(np.log(0.11), np.log(0.7))))
    side = int(1.3 * diameter)
    sprite = None
    kind = rng.random()
    if kind < real:
        sprite = cut_out(rng, sources.annotated(rng, footage), side)
    elif kind < real + 0.12:
        sprite = cut_out(rng, sources.frames[rng.integers(len(sources.frames))], side)
    if sprite is None:
        parts = drawn_parts(rng, sources, frames, side)
    else:
        rgb, alpha = sprite
        if rng.random() < 0.5:
            rgb, alpha = rgb[:, ::-1], alpha[:, ::-1]
        parts = [
            Part(np.ascontiguousarray(rgb), np.ascontiguousarray(alpha), _static(alpha, frames))
        ]
    upright = sprite is not None
    speed = rng.choice((0.15, 0.5, 1.0, 1.6), p=(0.2, 0.35, 0.3, 0.15))
    x = size * (rng.uniform(0.12, 0.88) + motion.curve(rng, frames, 0.35 * speed, 0.07 * speed))
    y = size * (rng.uniform(0.15, 0.85) + motion.curve(rng, frames, 0.22 * speed, 0.07 * speed))
    present = np.ones(frames, bool)
    if rng.random() < absence and frames > 3:
        if rng.random() < 0.6:
            way = rng.uniform(0, 2 * np.pi)
            reach = motion.excursion(rng, frames) * (0.8 * size + diameter)
            x, y = x + np.cos(way) * reach, y + np.sin(way) * reach
        else:
            start = int(rng.integers(1, frames - 1))
            present[start : start + int(rng.integers(1, max(2, frames // 2)))] = False
    turn = rng.normal(0, 0.2) if upright else rng.uniform(0, 6.3)
    angle = turn + motion.curve(rng, frames, 0.5 * speed, 0.2 * speed)
    grow = np.exp(motion.curve(rng, frames, 0.25 * speed, 0.06 * speed))
    stretch = rng.uniform(0.8, 1.25) * np.exp(motion.curve(rng, frames, 0.12, 0.06 * speed))
    shear = motion.curve(rng, frames, 0.2 * speed, 0.05)
    wide = 1 / rng.choice((1.0, 1.15, 1.33))  # wide images are squashed into a square
    squash = np.diag((wide, 1.0, 1.0))
    pose = np.stack(
        [
            motion.affine(x[t], y[t], 0, 1, 1)
            @ squash
            @ motion.affine(
                0,
                0,
                angle[t],
                diameter * grow[t] * stretch[t],
                diameter * grow[t] / stretch[t],
                shear[t],
            )
            for t in range(frames)
        ]
    )
    elastic = None
    if rng.random() < 0.6:
        elastic = motion.Elastic.random(rng, frames, diameter * rng.uniform(0.01, 0.06))
    gain = 1 + motion.curve(rng, frames, 0.12, 0.05)
    return Thing(parts, pose, elastic, present, labelled, gain)


def twin(rng: Rng, thing: Thing, size: int) -> Thing:
    """An unlabelled look-alike that moves differently."""
    frames = len(thing.pose)
    x = size * (rng.uniform(-0.5, 0.5) + motion.curve(rng, frames, 0.25, 0.05))
    y = size * (rng.uniform(-0.4, 0.4) + motion.curve(rng, frames, 0.2, 0.05))
    pose = np.stack([motion.affine(x[t], y[t], 0, 1, 1) @ thing.pose[t] for t in range(frames)])
    return Thing(thing.parts, pose, thing.elastic, np.ones(frames, bool), False, thing.gain)


def random_background(
    rng: Rng, image: LabelledImage, size: int, objects: int, frames: int, elastic: float
) -> Background:
    """Use an image as background, and up to `objects` of its labels as objects."""
    height, width = image.rgb.shape[:2]
    aspect = rng.choice((1.0, 1.2, 1.33, 1.5, 1.78))  # of the camera, squashed to 1
    zoom = rng.uniform(0.55, 1.0) if objects else rng.uniform(0.4, 1.0)
    crop_h = min(height, width / aspect) * zoom
    crop_w = min(width, crop_h * aspect)
    x0, y0 = rng.uniform(0, width - crop_w), rng.uniform(0, height - crop_h)
    flip = rng.random() < 0.5
    pose = motion.affine(0, 0, 0, size / crop_w, size / crop_h) @ motion.affine(-x0, -y0, 0, 1, 1)
    if flip:
        pose = motion.affine(size, 0, 0, -1, 1) @ pose
    pose = (
        motion.affine(size / 2, size / 2, rng.normal(0, 0.05), 1, 1)
        @ motion.affine(-size / 2, -size / 2, 0, 1, 1)
        @ pose
    )
    chosen: list[int] = []
    if objects:
        window = image.labels[int(y0) : int(y0 + crop_h) + 1, int(x0) : int(x0 + crop_w) + 1]
        share = np.bincount(window.ravel(), minlength=256) / max(window.size, 1)
        good = [v for v in range(1, 256) if 0.006 < share[v] < 0.65]
        rng.shuffle(good)
        chosen = [int(v) for v in good[:objects]]
    field = motion.Elastic.random(rng, frames, elastic) if elastic > 0 else None
    return Background(image.rgb, image.labels, chosen, pose, field)
