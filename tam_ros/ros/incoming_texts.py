# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The texts of received messages, cut and without what a terminal would obey.

A frame_id, an encoding or a name is repeated in every result and in the log. Whoever can publish
could make them of megabytes or of escape sequences.
"""

from __future__ import annotations

import importlib
from functools import cache
from operator import attrgetter
from typing import Any, cast

from rosidl_parser import definition as rosidl

from tam_ros.printable import MAX_NAME, printable


def cut_texts(message: Any) -> None:
    """Make every text of a message one printable line of at most `MAX_NAME` characters.

    Texts in sequences stay as they are.
    """
    for owner, name in _places(cast('Any', type(message))):
        part = attrgetter(owner)(message) if owner else message
        text = getattr(part, name)
        if (shown := printable(text, MAX_NAME)) is not text:
            setattr(part, name, shown)


@cache
def _places(message_type: Any) -> tuple[tuple[str, str], ...]:
    """Return where a type has texts: the path of what owns each, and the name of the field."""
    found: list[tuple[str, str]] = []
    fields = zip(message_type.get_fields_and_field_types(), message_type.SLOT_TYPES, strict=True)
    for name, kind in fields:
        if isinstance(kind, rosidl.AbstractString):
            found.append(('', name))
        elif isinstance(kind, rosidl.NamespacedType):
            part = getattr(importlib.import_module('.'.join(kind.namespaces)), kind.name)
            found += ((f'{name}.{owner}'.rstrip('.'), last) for owner, last in _places(part))
    return tuple(found)
