# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Files of words: classes, further words for them, and what people write into such files."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.language import TextError, TextFeatures
from tam_ros.language.vocabulary import chosen_from, read_vocabulary


def read(tmp_path, data):
    path = tmp_path / 'words.txt'
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_vocabulary(path)


def test_classes_and_their_words(tmp_path):
    found = read(
        tmp_path,
        '# what is on the table\n\nmug, coffee  cup ,\n  red   cable # thin\n,,\nкружка\r\n',
    )
    assert found.classes == (('mug', 'coffee cup'), ('red cable',), ('кружка',))
    assert found.names == ('mug', 'red cable', 'кружка')
    assert found.words == ('mug', 'coffee cup', 'red cable', 'кружка')
    assert found.repeated == ()


def test_words_that_are_there_twice(tmp_path):
    found = read(tmp_path, 'mug, cup, mug\nCup, glass\nMUG\n')
    assert found.classes == (('mug', 'cup'), ('glass',))
    assert found.repeated == ('mug', 'Cup', 'MUG')


def test_a_byte_order_mark_is_no_letter(tmp_path):
    assert read(tmp_path, b'\xef\xbb\xbfmug\n').names == ('mug',)


@pytest.mark.parametrize(
    ('data', 'says'),
    [
        ('', 'has 0 classes'),
        ('# only a comment\n\n', 'has 0 classes'),
        (b'\xff\xfe\x00', 'cannot be read as a list of words'),
        (','.join(f'w{n}' for n in range(40)), "has 40 words for 'w0'"),
        ('\n'.join(f'w{n}' for n in range(100_001)), 'has 100001 classes'),
    ],
)
def test_files_without_words(tmp_path, data, says):
    with pytest.raises(TextError, match=says):
        read(tmp_path, data)


def test_a_missing_file(tmp_path):
    with pytest.raises(TextError, match='none.txt does not exist'):
        read_vocabulary(tmp_path / 'none.txt')


def test_prototypes_by_class(tmp_path):
    vocabulary = read(tmp_path, 'mug, cup, glass\ncable\n')
    names = ('cable', 'glass', 'Mug', 'other', 'cup')
    features = TextFeatures(names, np.eye(5, dtype=np.float32), 'abc')
    found = vocabulary.prototypes(chosen_from(features))
    assert found.shape == (2, 3, 5) and found.dtype == np.float32
    assert found.argmax(axis=2).tolist() == [[2, 4, 1], [0, 0, 0]]


def test_features_that_lack_words(tmp_path):
    vocabulary = read(tmp_path, 'mug, cup\ncable\n')
    features = TextFeatures(('cup',), np.eye(1, 5, dtype=np.float32), 'abc')
    with pytest.raises(TextError, match="lacks 'mug' and 1 more words"):
        vocabulary.prototypes(chosen_from(features))
