# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a browser sends is checked; what it gets can be taken apart again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam_ros.page.protocol import (
    Acknowledge,
    Message,
    Prompt,
    ProtocolError,
    Remove,
    RemoveAll,
    Rename,
    Undo,
    Watch,
    pack_frame,
    read_message,
    unpack_frame,
)

PROMPT = {
    'type': 'prompt',
    'request': 4,
    'camera': '/front/track_node',
    'stamp': '1700000000123456789',
    'object': 0,
    'points': [[1, 2.5, 1]],
    'box': None,
}


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'type': 'watch', 'camera': '/a'}, Watch('/a', True)),
        ({'type': 'watch', 'camera': '', 'pictures': False}, Watch('', False)),
        ({'type': 'ack', 'frame': 7}, Acknowledge(7)),
        (
            PROMPT,
            Prompt(4, '/front/track_node', 1700000000123456789, 0, ((1.0, 2.5, 1),), None),
        ),
        (
            {**PROMPT, 'object': 3, 'points': [], 'box': [1, 2, 3, 4], 'name': ' mug '},
            Prompt(4, '/front/track_node', 1700000000123456789, 3, (), (1, 2, 3, 4), 'mug'),
        ),
        (
            {'type': 'rename', 'request': 1, 'camera': '/a', 'object': 2, 'name': 'Tasse ☕'},
            Rename(1, '/a', 2, 'Tasse ☕'),
        ),
        ({'type': 'remove', 'request': 1, 'camera': '/a', 'object': 2}, Remove(1, '/a', 2)),
        ({'type': 'remove_all', 'request': 1, 'camera': '/a'}, RemoveAll(1, '/a')),
        ({'type': 'undo', 'request': 1, 'camera': '/a'}, Undo(1, '/a')),
    ],
)
def test_messages_are_read(fields, message):
    assert read_message(json.dumps(fields)) == message


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'stamp': 17}, 'stamp must be'),
        ({'stamp': '-1'}, 'stamp must be'),
        ({'stamp': '٣'}, 'stamp must be'),
        ({'stamp': '9' * 20}, 'stamp must be'),
        ({'object': -1}, 'object must be'),
        ({'object': 65536}, 'object must be'),
        ({'object': True}, 'object must be'),
        ({'object': 1.0}, 'object must be'),
        ({'points': []}, 'needs points or a box'),
        ({'points': 'x'}, 'points must be'),
        ({'points': [[1, 2]]}, 'a point must have 3 numbers'),
        ({'points': [[1, 2, 2]]}, 'label of a point'),
        ({'points': [[1, None, 1]]}, 'a point must have 3 numbers'),
        ({'points': [[1e300, 2, 1]]}, 'at most 1e'),
        ({'points': [[1, 2, 1]] * 33}, 'at most 32'),
        ({'box': [1, 2, 1, 4]}, 'x0 < x1'),
        ({'box': [1, 2, 3]}, 'a box must have 4'),
        ({'name': 'x' * 65}, 'at most 64'),
        ({'name': 'a\nb'}, 'control characters'),
        ({'name': '\ud800'}, 'control characters'),
        ({'camera': 5}, 'camera must be'),
        ({'request': None}, 'request must be'),
        ({'extra': 1}, "unknown field 'extra'"),
        ({'type': 'shell'}, "unknown type of message: 'shell'"),
        ({'type': ['prompt']}, 'unknown type'),
    ],
)
def test_wrong_messages_are_refused_in_one_line(change, words):
    with pytest.raises(ProtocolError, match=words) as caught:
        read_message(json.dumps({**PROMPT, **change}))
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    'text',
    ['', '{', '[]', '1', 'null', '[' * 60000, '{"type": NaN}', '1' * 10000, '{"type": "ack"}'],
)
def test_what_is_no_message_is_refused(text):
    with pytest.raises(ProtocolError):
        read_message(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
_KINDS = st.sampled_from(['watch', 'ack', 'prompt', 'rename', 'remove', 'remove_all', 'undo'])


@given(st.dictionaries(st.sampled_from([*PROMPT, 'name', 'frame', 'x']), _VALUES), _KINDS)
def test_any_json_is_read_or_refused(fields, kind):
    try:
        message = read_message(json.dumps({**fields, 'type': kind}))
    except ProtocolError:
        return
    assert isinstance(message, Message)


def test_a_frame_is_taken_apart_again():
    data = pack_frame({'frame': 3, 'name': 'Tasse ☕'}, b'JPEG', b'PNG')
    assert unpack_frame(data) == (
        {'frame': 3, 'name': 'Tasse ☕', 'picture_bytes': 4},
        b'JPEG',
        b'PNG',
    )
