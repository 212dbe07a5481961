# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Texts from outside."""

from __future__ import annotations

import pytest

from tam_ros.printable import MAX_NAME, one_line, printable


@pytest.mark.parametrize('text', ['', 'mug', 'two  spaces ', 'Tässä 杯', 'x' * 10])
def test_printable_texts_stay_as_they_are(text):
    assert printable(text, 12) is text


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('a\nb\tc', 'a b c'),
        ('\x1b[2Jgone', r'\x1b[2Jgone'),
        ('\x07\x00', r'\x07\x00'),
        ('abc\u202edef', r'abc\u202edef'),  # what follows would be shown from right to left
        ('\ud800', r'\ud800'),  # has no UTF-8, so it could not be sent
        ('x' * 21, 'x' * 17 + '...'),
        ('\x1b' * 100, r'\x1b' * 4 + r'\...'),
    ],
)
def test_others_become_one_printable_line(text, shown):
    assert printable(text, 20) == one_line(text, 20) == shown


def test_a_long_text_is_not_looked_at_as_a_whole():
    text = '\x1b' * 50_000_000
    assert len(printable(text, MAX_NAME)) == MAX_NAME
