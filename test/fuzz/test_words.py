# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Features of texts, vocabularies and the tables of tokenizers."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import planted_clip as planted
import pytest
from hypothesis import given

from fuzz.mutations import OPERATIONS, cached, fuzzed, mutated, only, trees
from tam_ros.language import TextError, TextFeatures
from tam_ros.language.tokenizer import open_tokenizer
from tam_ros.language.vocabulary import read_vocabulary


@cached
def features() -> bytes:
    file = io.BytesIO()
    names, numbers = np.array(['red mug', 'кружка']), np.eye(2, 4, dtype=np.float32)
    np.savez(file, names=names, features=numbers, fingerprint=np.array('abc'))
    return file.getvalue()


@fuzzed(150)
@given(operations=OPERATIONS)
def test_features(tmp_path, operations):
    path = tmp_path / 'words.npz'
    path.write_bytes(mutated(features(), operations))
    with only(TextError, names=path.name):
        found = TextFeatures.load(path)
        assert np.isfinite(found.features).all() and len(found.names) == len(found.features)


@fuzzed(150)
@given(operations=OPERATIONS)
def test_vocabularies(tmp_path, operations):
    path = tmp_path / 'words.txt'
    path.write_bytes(mutated('# table\nmug, cup\n\nкружка\n'.encode(), operations))
    with only(TextError, names=path.name):
        found = read_vocabulary(path)
        assert all(found.words) and len(set(found.words)) == len(found.words)


@cached
def tables() -> dict[str, bytes]:
    tokenizers = pytest.importorskip('tokenizers', reason='tokenizers is not installed')
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f'{one}</w>' for one in letters), 're', 'red</w>']
    ids = {
        word: number for number, word in enumerate([*words, '<|startoftext|>', '<|endoftext|>'])
    }
    return {
        'bpe.txt.gz': gzip.compress(b'"#version\nr e\nre d</w>'),
        'vocab.json': json.dumps(ids).encode(),
        'merges.txt': b'#version: 0.2\nr e\nre d</w>\n',
    }


@pytest.mark.parametrize('name', ['bpe.txt.gz', 'vocab.json', 'merges.txt', 'tokenizer.json'])
@fuzzed(60)
@given(operations=OPERATIONS)
def test_tokenizers(tmp_path, name, operations):
    for other, data in tables().items():
        (tmp_path / other).write_bytes(data)
    planted.write_vocabulary(tmp_path / 'tokenizer.json')
    changed = tmp_path / name
    changed.write_bytes(mutated(changed.read_bytes(), operations))
    opened = tmp_path / 'vocab.json' if name == 'merges.txt' else changed
    with only(TextError, names=opened.name):
        tokens = open_tokenizer(opened).encode(['red mug'], 20)
        assert tokens.shape == (1, 20)


@cached
def tokenizer() -> dict:
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'tokenizer.json'
        planted.write_vocabulary(path)
        return json.loads(path.read_text())


@fuzzed(150)
@given(tree=trees(tokenizer()))
def test_values_in_a_tokenizer(tmp_path, tree):
    path = tmp_path / 'tokenizer.json'
    path.write_text(json.dumps(tree))
    with only(TextError, names=path.name):
        open_tokenizer(path).encode(['red mug'], 20)
