# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong in a reader becomes one error, whose message is one printable line."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from tam_ros.printable import one_line
from tam_ros.reading import InputError, failing_as, reading, reason
from tam_ros.regular_file import read_regular


class ReaderError(InputError, ValueError):
    pass


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('Straße 東京', 'Straße 東京'),
        ('two\nlines\r\n and\ttabs', 'two lines and tabs'),
        ('\x1b[2Jgone \x07', '\\x1b[2Jgone \\x07'),
        ('\udc80 \u202e', '\\udc80 \\u202e'),
        ('x' * 21, 'x' * 17 + '...'),
        ('\0' * 6, '\\x00\\x00\\x00\\x00\\...'),
        ('', ''),
    ],
)
def test_one_line(text, shown):
    assert one_line(text, 20) == shown


def test_a_long_text_is_cut_before_anything_is_done_with_it():
    assert len(one_line('\n' * 10**7 + 'x', 200)) <= 200


@pytest.mark.parametrize(
    ('error', 'says'),
    [
        (struct.error('unpack requires 4 bytes'), 'unpack requires 4 bytes'),
        (MemoryError(), 'there is not enough memory'),
        (RecursionError('maximum recursion depth'), 'nested too deeply'),
        (EOFError(), 'ends too early'),
        (StopIteration(), 'ends too early'),
        (KeyError('about'), "'about' is missing"),
        (PermissionError(errno.EACCES, 'Permission denied', '/x'), 'Permission denied'),
        (AssertionError(), 'AssertionError'),
        (UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid start byte'), 'invalid start byte'),
        (ValueError('a\nb' * 1000), 'a b'),
    ],
)
def test_whatever_is_raised_becomes_the_error_of_the_reader(tmp_path, error, says):
    path = tmp_path / 'file'
    path.write_bytes(b'')
    with pytest.raises(ReaderError) as raised, reading(path, ReaderError, 'a mask', advice='help'):
        raise error
    text = str(raised.value)
    assert text.startswith(f'{path} cannot be read as a mask: ') and says in text
    assert text.endswith('; help') and text.isprintable() and len(text) < 600
    assert raised.value.__cause__ is error and says in reason(error)


def test_the_error_of_the_reader_and_interruptions_pass():
    with pytest.raises(ReaderError, match='^mine$'), failing_as(ReaderError, 'no'):
        raise ReaderError('mine')
    with pytest.raises(KeyboardInterrupt), failing_as(ReaderError, 'no'):
        raise KeyboardInterrupt


def test_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path, says in (
        (tmp_path / 'pipe', 'not a regular file'),
        ('/dev/zero', 'not a regular file'),
        (tmp_path, 'not a regular file'),
        (tmp_path / 'none', 'none does not exist'),
        (tmp_path / 'none' / 'x', 'does not exist'),
    ):
        with pytest.raises(ReaderError, match=says), reading(path, ReaderError, 'a mask'):
            raise AssertionError('the block is not entered')
    with reading(tmp_path, ReaderError, 'a bag', folders=True):
        pass


def test_a_file_that_is_too_large(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'12345')
    with pytest.raises(ReaderError, match='5 bytes'), reading(path, ReaderError, 'a mask'):
        read_regular(path, 4)


def test_a_message_is_one_line_whatever_it_repeats():
    text = str(ReaderError('topic \x1b[31m\n' + 'x' * 10**6))
    assert text.startswith('topic \\x1b[31m xxx') and text.isprintable() and len(text) <= 2000
