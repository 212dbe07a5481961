# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Overlays, colours and contact sheets."""

from types import SimpleNamespace

import numpy as np
import pytest

from tam_ros.drawing.contact_sheet import Tile, contact_sheet
from tam_ros.drawing.overlay import draw_overlay, outline
from tam_ros.drawing.palette import colour


def labels(shape: tuple[int, int] = (240, 320)) -> np.ndarray:
    image = np.zeros(shape, np.uint16)
    image[60:120, 40:140] = 1
    image[150:200, 200:300] = 700
    return image


def test_masks_are_tinted_and_nothing_else_changes():
    rgb = np.full((240, 320, 3), 100, np.uint8)
    drawn = draw_overlay(rgb, labels())
    assert (rgb == 100).all(), 'the input image must not change'
    for object_id, centre in ((1, (90, 90)), (700, (175, 250))):
        mixed = 0.55 * 100 + 0.45 * np.array(colour(object_id))
        assert np.abs(drawn[centre] - mixed).max() <= 1
    far = np.ones((240, 320), bool)
    far[55:125, 35:145] = far[145:205, 195:305] = False
    assert (drawn[far] == 100).all()


def test_tags_are_drawn_for_seen_and_unseen_objects():
    rgb = np.zeros((240, 320, 3), np.uint8)
    plain = draw_overlay(rgb, labels())
    seen = SimpleNamespace(id=1, state='visible', score=0.9)
    lost = SimpleNamespace(id=2, state='lost', score=0.0)
    tagged = draw_overlay(rgb, labels(), [seen, lost])
    changed = (tagged != plain).any(axis=2)
    assert changed[40:62, 40:].any()  # above the mask
    assert changed[:50, :100].any()  # in the corner
    assert (tagged == np.array(colour(2))).all(axis=2).any()


def test_a_tag_does_not_hide_an_image_that_is_lower_than_it():
    low = np.zeros((4, 200, 3), np.uint8)
    item = SimpleNamespace(id=1, state='visible', score=1.0)
    mask = np.zeros((4, 200), np.uint8)
    mask[:, 20:50] = 1
    np.testing.assert_array_equal(draw_overlay(low, mask, [item]), draw_overlay(low, mask))


def test_names_are_on_the_tags():
    rgb = np.zeros((240, 320, 3), np.uint8)
    item = SimpleNamespace(id=1, state='visible', score=0.9)

    def width(names):
        tagged = draw_overlay(rgb, labels(), [item], names)
        return (tagged == np.array(colour(1))).all(axis=2)[45:55].any(axis=0).sum()

    assert width({1: 'coffee mug'}) > width({2: 'coffee mug'}) + 50


@pytest.mark.parametrize('shape', [(1, 1), (1, 200), (40, 30), (240, 320), (2160, 3840)])
def test_any_size(shape):
    image = np.ones(shape, np.uint8)
    item = SimpleNamespace(id=1, state='visible', score=1.0)
    assert draw_overlay(np.zeros((*shape, 3), np.uint8), image, [item]).shape == (*shape, 3)


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match='do not fit'):
        draw_overlay(np.zeros((20, 30, 3), np.uint8), np.zeros((30, 20), np.uint8))


def test_outline_touches_only_the_border():
    rgb = np.zeros((240, 320, 3), np.uint8)
    outline(rgb, labels(), 1, (255, 255, 255))
    white = (rgb == 255).all(axis=2)
    assert white[60, 40:140].all() and white[60:120, 139].all()
    assert not white[61:119, 41:139].any() and not white[140:].any()


def test_neighbouring_ids_differ_in_colour():
    colours = {colour(object_id) for object_id in range(1, 13)}
    assert len(colours) == 12
    assert colour(13) == colour(1)


def test_sheet_holds_every_tile():
    tiles = [Tile(np.full((90, 160, 3), 40 * k, np.uint8), f'frame {k}') for k in range(1, 6)]
    sheet = contact_sheet(tiles, 'a title', ['a note'], columns=3, tile_width=160)
    assert sheet.shape[1] == 12 + 3 * 172
    for k in range(1, 6):
        assert (sheet == 40 * k).all(axis=2).sum() >= 90 * 160
    assert (sheet[:40] < 100).any()  # the title


def test_long_lines_are_shrunk_not_cut():
    tile = Tile(np.zeros((90, 160, 3), np.uint8), 'caption ' * 6)
    sheet = contact_sheet([tile] * 3, 'a long title ' * 6, ['a long note ' * 8], tile_width=160)
    ink = (sheet < 128).all(axis=2)
    assert ink[:40, :-12].any() and not ink[:40, -10:].any()
    assert not ink[40:62, -10:].any()
    assert not ink[-40:, 172:184].any(), 'captions must not run into each other'


def test_a_sheet_needs_a_tile():
    with pytest.raises(ValueError, match='at least one'):
        contact_sheet([], 'title')
