# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompts written as text, for the command line and the demo.

    1:point:320,240            object 1, a click on it at x 320, y 240
    1:point:320,240,1;60,40,0  two clicks, the second one (label 0) off the object
    2:box:40,60,200,180        object 2 inside x 40..200, y 60..180
    2:box:40,60,200,180@25     the same on frame 25 instead of frame 0

Coordinates are pixels of the image, x to the right, y down. Several prompts are joined by `;` or
spaces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tam_ros.reading import InputError

SYNTAX = (
    'ID:point:X,Y[,LABEL][;X,Y[,LABEL]...][@FRAME] or ID:box:X0,Y0,X1,Y1[@FRAME], several joined '
    "by ';', for example '1:point:320,240;2:box:40,60,200,180'"
)


MAX_DIGITS = 18
"""Digits of a whole number, more than any frame index or id has."""

MAX_SHOWN = 100
"""Characters of a wrong text that a message repeats."""


class PromptSpecError(InputError, ValueError):
    """The text of a prompt cannot be parsed; the message shows the syntax."""


@dataclass(frozen=True)
class PromptSpec:
    """One prompt for one object, on one frame: clicks or a box.

    Attributes:
        object_id: whole number from 1.
        points: clicks (x, y) in pixels; empty for a box.
        labels: one per click: 1 on the object, 0 off it.
        box: (x0, y0, x1, y1) in pixels, or None for clicks.
        frame: index of the frame that the prompt was made on, from 0.
    """

    object_id: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    frame: int = 0

    def __str__(self) -> str:
        """Write the prompt in the syntax that `parse_prompts` reads."""
        if self.box is not None:
            body = 'box:' + ','.join(f'{value:g}' for value in self.box)
        else:
            clicks = zip(self.points, self.labels, strict=True)
            body = 'point:' + ';'.join(f'{x:g},{y:g},{label}' for (x, y), label in clicks)
        return f'{self.object_id}:{body}' + (f'@{self.frame}' if self.frame else '')


def parse_prompts(text: str) -> list[PromptSpec]:
    """Parse one or several prompts, in the order they are written.

    Args:
        text: prompts in the syntax described at the top of this module.

    Raises:
        PromptSpecError: `text` is empty, or a part of it does not follow the syntax.
    """
    groups: list[list[str]] = []
    for piece in text.replace(';', ' ').split():
        if ':' in piece:
            groups.append([piece])
        elif not groups:
            raise _error(piece, 'the object id and the kind are missing')
        elif '@' in groups[-1][-1]:
            raise _error(piece, 'no click can follow @FRAME')
        else:
            groups[-1].append(piece)
    if not groups:
        raise PromptSpecError(f'no prompt given; write {SYNTAX}')
    return [_parse_group(group) for group in groups]


def check_prompts(
    prompts: Iterable[PromptSpec], size: tuple[int, int], frames: int | None
) -> None:
    """Check that prompts fit a recording.

    Args:
        prompts: prompts to check.
        size: (height, width) of the frames, pixels.
        frames: number of frames; None: unknown, every frame index is accepted.

    Raises:
        PromptSpecError: a click or a whole box outside the image, or a frame beyond the end.
    """
    height, width = size
    for prompt in prompts:
        inside = all(0 <= x <= width - 1 and 0 <= y <= height - 1 for x, y in prompt.points)
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            inside = x0 < width and y0 < height and x1 > 0 and y1 > 0
        if not inside:
            raise PromptSpecError(
                f'the prompt {str(prompt)!r} lies outside the image of {width}x{height} pixels'
            )
        if frames is not None and prompt.frame >= frames:
            raise PromptSpecError(
                f'the prompt {str(prompt)!r} is for frame {prompt.frame}, but the frames are 0 to '
                f'{frames - 1}'
            )


def _parse_group(group: list[str]) -> PromptSpec:
    """Parse the pieces of one prompt: `ID:KIND:NUMBERS`, then further clicks; `@FRAME` ends it."""
    text = ';'.join(group)
    body, has_frame, frame_text = text.partition('@')
    id_text, _, rest = body.partition(':')
    kind, _, numbers = rest.partition(':')
    object_id = _whole(id_text, text, 'the object id', minimum=1)
    frame = _whole(frame_text, text, 'the frame', minimum=0) if has_frame else 0
    if kind == 'point':
        clicks = [_numbers(click, text) for click in numbers.split(';')]
        return PromptSpec(
            object_id,
            points=tuple(_point(click, text) for click in clicks),
            labels=tuple(_label(click, text) for click in clicks),
            frame=frame,
        )
    if kind == 'box':
        box = _numbers(numbers, text)
        if len(box) != 4:
            raise _error(text, 'a box has four numbers')
        x0, y0, x1, y1 = box
        if x0 >= x1 or y0 >= y1:
            raise _error(text, 'a box needs X0 < X1 and Y0 < Y1')
        return PromptSpec(object_id, box=(x0, y0, x1, y1), frame=frame)
    raise _error(text, f'{kind[:MAX_SHOWN]!r} is neither point nor box')


def _numbers(text: str, whole: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(',')]
    except ValueError:
        raise _error(whole, f'{text[:MAX_SHOWN]!r} is not a list of numbers') from None
    if not all(map(math.isfinite, values)):
        raise _error(whole, 'coordinates must be finite')
    return values


def _point(click: list[float], whole: str) -> tuple[float, float]:
    if len(click) not in (2, 3):
        raise _error(whole, 'a click is X,Y or X,Y,LABEL')
    return click[0], click[1]


def _label(click: list[float], whole: str) -> int:
    if len(click) == 3 and click[2] not in (0, 1):
        raise _error(whole, 'a label is 1 (on the object) or 0 (off it)')
    return int(click[2]) if len(click) == 3 else 1


def _whole(text: str, whole: str, what: str, minimum: int) -> int:
    # Python refuses to convert thousands of digits, with an error of its own.
    plain = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not plain or int(text) < minimum:
        raise _error(whole, f'{what} must be a whole number from {minimum}')
    return int(text)


def _error(text: str, why: str) -> PromptSpecError:
    shown = text if len(text) <= MAX_SHOWN else f'{text[:MAX_SHOWN]}...'
    return PromptSpecError(f'cannot read the prompt {shown!r}: {why}; write {SYNTAX}')
