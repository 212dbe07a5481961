# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Draws several captioned frames as one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_PAPER = (250, 250, 248)
_INK = (28, 30, 34)
_SOFT_INK = (104, 108, 116)
_GAP = 12


class Tile(NamedTuple):
    """One frame of a sheet.

    Attributes:
        rgb: uint8 RGB [H, W, 3].
        caption: text below it.
    """

    rgb: np.ndarray
    caption: str


def contact_sheet(
    tiles: Sequence[Tile],
    title: str,
    notes: Sequence[str] = (),
    columns: int = 3,
    tile_width: int = 400,
) -> np.ndarray:
    """Draw frames in rows, with captions, below a title and notes.

    Args:
        tiles: at least one; they are scaled to `tile_width`.
        title: one line.
        notes: further lines below the title, in a smaller font.
        columns: number of frames in a row.
        tile_width: pixels.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        ValueError: there is no tile.
    """
    if not tiles:
        raise ValueError('a contact sheet needs at least one frame')
    columns = min(columns, len(tiles))
    images = [_fit(tile.rgb, tile_width) for tile in tiles]
    tile_height = max(image.shape[0] for image in images)
    heading = 44 + 22 * len(notes)
    caption_height = 30
    rows = -(-len(tiles) // columns)
    width = _GAP + columns * (tile_width + _GAP)
    height = heading + rows * (tile_height + caption_height) + _GAP
    sheet = Image.new('RGB', (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    room = width - 2 * _GAP
    pen.text((_GAP, 10), title, _INK, _font_for(title, 22, room))
    for line, note in enumerate(notes):
        pen.text((_GAP, 40 + 22 * line), note, _SOFT_INK, _font_for(note, 15, room))
    for index, (tile, image) in enumerate(zip(tiles, images, strict=True)):
        row, column = divmod(index, columns)
        x = _GAP + column * (tile_width + _GAP)
        y = heading + 6 + row * (tile_height + caption_height)
        sheet.paste(Image.fromarray(image), (x, y))
        font = _font_for(tile.caption, 15, tile_width)
        pen.text((x, y + image.shape[0] + 4), tile.caption, _INK, font)
    return np.array(sheet)


def _fit(rgb: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    shrinking = width < rgb.shape[1]
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(rgb, (width, height), interpolation=interpolation)


def _font_for(text: str, size: int, room: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return the font in `size`, or smaller so that the text fits into `room` pixels."""
    font = ImageFont.load_default(size)
    # The width is not proportional to the size: each letter is rounded.
    while size > 6 and font.getlength(text) > room:
        size -= 1
        font = ImageFont.load_default(size)
    return font
