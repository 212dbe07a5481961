# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the page and its server say to each other, and the check of everything a browser sends.

A browser sends JSON objects as text. The server sends JSON objects as text, and frames as binary
messages: the length of the header (4 bytes, most significant first), the header (JSON), the
picture (JPEG or PNG, `picture_bytes` long), and the label image (PNG, the rest). Stamps are
nanoseconds in decimal text, since numbers of JavaScript have 53 bits. Pixels: x to the right,
y down, (0, 0) the centre of the upper left pixel.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_MESSAGE_BYTES = 64 * 1024
"""Longest message of a browser."""

MAX_POINTS = 32
"""Most points of one prompt: a browser sends one, and a correction that is undone some more."""

MAX_NAME = 64
"""Longest name of an object, characters."""

MAX_CAMERA = 256  # longest name of a node

_HEADER_LENGTH = struct.Struct('>I')
_MAX_COORDINATE = 1e6  # pixels
_MAX_REQUEST = 2**31
_MAX_STAMP_NS = 2**31 * 10**9  # `builtin_interfaces/Time.sec` is an int32
_MAX_FRAME = 2**53


class ProtocolError(ValueError):
    """A message of a browser cannot be used; the text is one line."""


Point = tuple[float, float, int]
"""x and y in pixels, and 1 on the object or 0 off it."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""


@dataclass(frozen=True)
class Watch:
    """Show another camera, or none, from now on.

    Attributes:
        camera: name of its tracking node; empty: none.
        pictures: false: only the objects, as for a picture that stands still.
    """

    camera: str
    pictures: bool = True


@dataclass(frozen=True)
class Acknowledge:
    """A frame has been drawn.

    Attributes:
        frame: its number.
    """

    frame: int


@dataclass(frozen=True)
class Request:
    """A request that is answered.

    Attributes:
        request: number that the browser has chosen; its answer has it as well.
        camera: name of the tracking node.
    """

    request: int
    camera: str


@dataclass(frozen=True)
class Prompt(Request):
    """Add an object, or refine one.

    Attributes:
        stamp_ns: stamp of the image that was shown, nanoseconds; 0: the next image.
        object_id: the object to refine; 0: add one.
        points: may be empty if there is a box.
        box: None: none.
        name: of a new object, or empty.
    """

    stamp_ns: int
    object_id: int
    points: tuple[Point, ...]
    box: Box | None
    name: str = ''


@dataclass(frozen=True)
class Rename(Request):
    """Give an object a name."""

    object_id: int
    name: str


@dataclass(frozen=True)
class Remove(Request):
    """Stop tracking an object."""

    object_id: int


@dataclass(frozen=True)
class RemoveAll(Request):
    """Stop tracking all objects."""


@dataclass(frozen=True)
class Undo(Request):
    """Undo this browser's last prompt."""


Message = Watch | Acknowledge | Request


def read_message(text: str) -> Message:
    """Read a message of a browser.

    Raises:
        ProtocolError: it is not a message of the page.
    """
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f'not JSON: {_one_line(error)}') from None
    if not isinstance(fields, dict):
        raise ProtocolError('a message is a JSON object')
    kind = fields.pop('type', None)
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise ProtocolError(f'unknown type of message: {_shown(kind)}')
    message = reader(_Fields(fields))
    if fields:
        raise ProtocolError(f'{kind}: unknown field {_shown(next(iter(fields)))}')
    return message


def pack_frame(header: Mapping[str, Any], picture: bytes, labels: bytes) -> bytes:
    """Return the binary message of a frame.

    Args:
        header: its fields, without `picture_bytes`.
        picture: JPEG or PNG file; empty: none.
        labels: PNG file; empty: none.
    """
    text = json.dumps({**header, 'picture_bytes': len(picture)}, allow_nan=False).encode()
    return b''.join((_HEADER_LENGTH.pack(len(text)), text, picture, labels))


def unpack_frame(data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Return header, picture and label image of a binary message; for tests and measurements."""
    (length,) = _HEADER_LENGTH.unpack_from(data)
    begin = _HEADER_LENGTH.size + length
    header = json.loads(data[_HEADER_LENGTH.size : begin])
    end = begin + header['picture_bytes']
    return header, data[begin:end], data[end:]


class _Fields:
    """Takes the fields of a message one after the other, and checks each."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def integer(self, name: str, highest: int, lowest: int = 0) -> int:
        value = self._fields.pop(name, None)
        if type(value) is not int or not lowest <= value <= highest:
            raise ProtocolError(f'{name} must be a whole number from {lowest} to {highest}')
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._fields.pop(name, default)
        if type(value) is not bool:
            raise ProtocolError(f'{name} must be true or false')
        return value

    def text(self, name: str, longest: int, default: str | None = None) -> str:
        value = self._fields.pop(name, default)
        if not isinstance(value, str) or len(value) > longest:
            raise ProtocolError(f'{name} must be a text of at most {longest} characters')
        if not value.isprintable():  # lone surrogates as well, which have no UTF-8
            raise ProtocolError(f'{name} must not contain control characters')
        return value

    def stamp_ns(self) -> int:
        text = self.text('stamp', 20)
        if not (text.isascii() and text.isdigit()) or int(text) >= _MAX_STAMP_NS:
            raise ProtocolError('stamp must be nanoseconds in decimal text')
        return int(text)

    def camera(self) -> str:
        return self.text('camera', MAX_CAMERA)

    def request(self) -> tuple[int, str]:
        return self.integer('request', _MAX_REQUEST), self.camera()

    def name(self, default: str | None = None) -> str:
        return self.text('name', MAX_NAME, default).strip()

    def object_id(self, lowest: int) -> int:
        return self.integer('object', 65535, lowest)

    def points(self) -> tuple[Point, ...]:
        value = self._fields.pop('points', [])
        if not isinstance(value, list) or len(value) > MAX_POINTS:
            raise ProtocolError(f'points must be a list of at most {MAX_POINTS}')
        points = []
        for item in value:
            x, y, label = _numbers('a point', item, 3)
            if label not in (0, 1):
                raise ProtocolError('the label of a point must be 1 (on the object) or 0')
            points.append((x, y, int(label)))
        return tuple(points)

    def box(self) -> Box | None:
        value = self._fields.pop('box', None)
        if value is None:
            return None
        x0, y0, x1, y1 = _numbers('a box', value, 4)
        if not (x0 < x1 and y0 < y1):
            raise ProtocolError('a box must have x0 < x1 and y0 < y1')
        return x0, y0, x1, y1


def _numbers(what: str, value: Any, count: int) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise ProtocolError(f'{what} must have {count} numbers')
    for item in value:
        if type(item) not in (int, float) or not abs(item) <= _MAX_COORDINATE:
            raise ProtocolError(f'{what} must have {count} numbers of at most {_MAX_COORDINATE:g}')
    return [float(item) for item in value]


def _read_prompt(fields: _Fields) -> Prompt:
    request, camera = fields.request()
    prompt = Prompt(
        request,
        camera,
        fields.stamp_ns(),
        fields.object_id(lowest=0),
        fields.points(),
        fields.box(),
        fields.name(default=''),
    )
    if not prompt.points and prompt.box is None:
        raise ProtocolError('a prompt needs points or a box')
    return prompt


_READERS: dict[str, Callable[[_Fields], Message]] = {
    'watch': lambda fields: Watch(fields.camera(), fields.flag('pictures', True)),
    'ack': lambda fields: Acknowledge(fields.integer('frame', _MAX_FRAME)),
    'prompt': _read_prompt,
    'rename': lambda fields: Rename(*fields.request(), fields.object_id(1), fields.name()),
    'remove': lambda fields: Remove(*fields.request(), fields.object_id(1)),
    'remove_all': lambda fields: RemoveAll(*fields.request()),
    'undo': lambda fields: Undo(*fields.request()),
}


def finite(value: float) -> float | None:
    """Return a number that JSON can contain; None for NaN and infinities."""
    return value if math.isfinite(value) else None


def _refuse_constant(name: str) -> float:
    raise ValueError(f'{name} is not a number of JSON')


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f'{text[:40]}...'


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split())[:120]
