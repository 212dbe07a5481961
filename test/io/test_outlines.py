# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Polygons of masks: the same pixels, whatever the shape, and none has a hole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tam_ros.io.outlines import edges, polygons


def drawn(text: str) -> np.ndarray:
    """Return a mask [H, W] from rows of `#` and `.`."""
    return np.array([[pixel == '#' for pixel in row] for row in text.split()])


def area(ring: np.ndarray) -> float:
    """Return the area that a ring encloses, without its sign."""
    x, y = ring.T.astype(float)
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def rasterized(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return how many of the polygons cover each pixel, by the rules of pycocotools."""
    covered = np.zeros(shape, int)
    for ring in rings:
        covered += coco_mask.decode(coco_mask.frPyObjects([ring.reshape(-1).tolist()], *shape))[
            ..., 0
        ]
    return covered


def check(mask: np.ndarray) -> list[np.ndarray]:
    rings = polygons(mask)
    np.testing.assert_array_equal(rasterized(rings, mask.shape), mask)
    assert sum(map(area, rings)) == mask.sum()
    for ring in rings:
        assert len(ring) >= 4 and len(ring) % 2 == 0
        (single,) = edges(rasterized([ring], mask.shape).astype(bool))
        assert len(single) == len(ring), 'a polygon is one part without a hole'
    return rings


@pytest.mark.parametrize(
    ('text', 'count'),
    [
        ('#', 1),
        ('####', 1),
        ('# # #', 1),
        ('.... .##. .##. ....', 1),
        ('##.. ##.. ..## ..##', 2),  # pixels that share a corner only
        ('#.# .#. #.#', 5),
        ('### #.# ###', 2),  # a hole
        ('##### #.#.# #####', 3),
        ('### #.# ### #.# ###', 2),  # holes that one cut opens
        ('##### #.### ###.# #####', 3),
        ('##### #.### ##.## #####', 2),  # holes that touch at a corner
        ('##### #...# #.#.# #...# #####', 3),  # a part in the hole of another
        ('###. #.#. ##.# .###', 1),  # background that is connected through a corner only
        ('.##. #..# .##.', 4),
        ('.... ....', 0),
    ],
)
def test_shapes(text, count):
    assert len(check(drawn(text))) == count


@pytest.mark.parametrize('share', [0.05, 0.5, 0.95])
def test_random_pixels(share):
    rng = np.random.default_rng(int(100 * share))
    for height, width in ((1, 30), (30, 1), (17, 23), (40, 40)):
        check(rng.random((height, width)) < share)


def test_round_shapes():
    image = np.zeros((120, 160), np.uint8)
    cv2.circle(image, (70, 60), 50, 1, cv2.FILLED)
    cv2.circle(image, (60, 50), 12, 0, cv2.FILLED)
    cv2.circle(image, (95, 70), 8, 0, cv2.FILLED)
    cv2.ellipse(image, (140, 100), (15, 8), 30, 0, 360, 1, cv2.FILLED)
    assert len(check(image.astype(bool))) == 4


def test_only_the_part_with_a_hole_is_cut():
    rings = check(drawn('###.### #.#.### ###.###'))
    assert sorted(len(ring) for ring in rings) == [4, 4, 8]


def test_coordinates_are_those_of_the_edges_of_pixels():
    (ring,) = polygons(drawn('..... .##.. .##..'))
    assert sorted(map(tuple, ring.tolist())) == [(1, 1), (1, 3), (3, 1), (3, 3)]
