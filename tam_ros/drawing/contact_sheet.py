# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One picture made of several captioned frames."""

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
    """One frame of a sheet and the lines of text below it."""

    rgb: np.ndarray  # uint8 [H, W, 3]
    caption: str


def contact_sheet(
    tiles: Sequence[Tile],
    title: str,
    notes: Sequence[str] = (),
    columns: int = 3,
    tile_width: int = 400,
) -> np.ndarray:
    """Lay frames out in rows, with captions, a title above and notes below it.

    Args:
        tiles: at least one; all are scaled to `tile_width`.
        title: one line.
        notes: further lines under the title, in smaller type.
        columns: frames in a row.
        tile_width: pixels.

    Returns:
        uint8 RGB.

    Raises:
        ValueError: no tile.
    """
    if not tiles:
        raise ValueError('a contact sheet needs at least one frame')
    columns = min(columns, len(tiles))
    pictures = [_fit(tile.rgb, tile_width) for tile in tiles]
    tile_height = max(picture.shape[0] for picture in pictures)
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
    for index, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        row, column = divmod(index, columns)
        x = _GAP + column * (tile_width + _GAP)
        y = heading + 6 + row * (tile_height + caption_height)
        sheet.paste(Image.fromarray(picture), (x, y))
        font = _font_for(tile.caption, 15, tile_width)
        pen.text((x, y + picture.shape[0] + 4), tile.caption, _INK, font)
    return np.array(sheet)


def _fit(rgb: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    shrinking = width < rgb.shape[1]
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(rgb, (width, height), interpolation=interpolation)


def _font_for(text: str, size: int, room: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return the font in that size, or smaller so that the text fits into `room` pixels."""
    font = ImageFont.load_default(size)
    # Widths are not proportional to the size: they are rounded letter by letter.
    while size > 6 and font.getlength(text) > room:
        size -= 1
        font = ImageFont.load_default(size)
    return font
