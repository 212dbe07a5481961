# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Message definitions that bags carry, added to a store of rosbags."""

from __future__ import annotations

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.typesys import get_types_from_idl, get_types_from_msg
from rosbags.typesys.store import Typestore

# `omgidl` is the name in the registry of MCAP, `ros2idl` the one that rosbag2 writes.
FORMATS = {
    'ros2msg': MessageDefinitionFormat.MSG,
    'ros2idl': MessageDefinitionFormat.IDL,
    'omgidl': MessageDefinitionFormat.IDL,
}


def register(store: Typestore, name: str, encoding: str, definition: bytes | str) -> bool:
    """Add a message type and those that it consists of to a store.

    Args:
        store: the store.
        name: of the type.
        encoding: one of `FORMATS`.
        definition: as the bag has it.

    Returns:
        Whether the store has the type now.
    """
    if name in store.fielddefs:
        return True
    try:
        text = definition if isinstance(definition, str) else definition.decode()
        if FORMATS[encoding] is MessageDefinitionFormat.MSG:
            store.register(get_types_from_msg(text, name))
            return True
        definitions = {}
        for part in text.split('=' * 80 + '\n'):
            head, _, body = part.partition('\n')
            if part.strip():
                definitions.update(get_types_from_idl(body if head.startswith('IDL: ') else part))
        store.register(definitions)
    except Exception:  # the parsers of rosbags raise many kinds of error
        return False
    return name in store.fielddefs
