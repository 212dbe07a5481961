# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Texts become tokens and features; what cannot be used is refused in words."""

from __future__ import annotations

import gzip
import json
import logging
import os
import stat

import numpy as np
import planted_clip as planted
import pytest
import tokenizers

from tam_ros.language import DenseClip, TextError, TextFeatures
from tam_ros.language.templates import TEMPLATES, sentences
from tam_ros.language.text_encoder import MAX_TEXTS
from tam_ros.language.tokenizer import find_table, open_tokenizer
from tam_ros.new_output import OutputError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def clip(tmp_path, cache):
    with DenseClip.open(None, planted.write(tmp_path), 'torch', threads=1) as clip:
        yield clip


# --- tokenizers ---


def alphabet():
    """Return the bytes as CLIP's table orders them, and the same at the end of a word."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    return [*letters, *(f'{one}</w>' for one in letters)]


MERGES = ['r e', 're d</w>', 'm u', 'mu g</w>']


@pytest.fixture(params=['bpe_simple_vocab_16e6.txt.gz', 'vocab.json', 'tokenizer.json'])
def table(request, tmp_path, monkeypatch):
    """Return a table of four merges, in each of the forms in which CLIP's is published."""
    words = [*alphabet(), 're', 'red</w>', 'mu', 'mug</w>', '<|startoftext|>', '<|endoftext|>']
    ids = {word: index for index, word in enumerate(words)}
    path = tmp_path / request.param
    if request.param.endswith('.gz'):
        monkeypatch.setattr('tam_ros.language.tokenizer._MERGES', len(MERGES))
        lines = ['"#version', *MERGES, 'not used']
        path.write_bytes(gzip.compress('\n'.join(lines).encode()))
        return path
    (tmp_path / 'vocab.json').write_text(json.dumps(ids))
    (tmp_path / 'merges.txt').write_text('\n'.join(['#version: 0.2', *MERGES]))
    if request.param == 'tokenizer.json':
        open_tokenizer(tmp_path / 'vocab.json')._library.save(str(path))
    return path


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('red mug', ['red</w>', 'mug</w>']),
        ('  RED\n mug', ['red</w>', 'mug</w>']),
        ('reds', ['re', 'd', 's</w>']),
        ("red's", ['red</w>', "'", 's</w>']),
        ('mu9', ['m', 'u</w>', '9</w>']),
        ('e\u0301', ['Ã', '©</w>']),  # composed, then two bytes
        ('東', ['æ', 'Ŀ', '±</w>']),
        ('', []),
    ],
)
def test_tokens(table, text, words):
    tokenizer = open_tokenizer(table)
    ids = [*alphabet(), 're', 'red</w>', 'mu', 'mug</w>']
    wanted = [516, *map(ids.index, words), 517]
    assert tokenizer.encode([text], 20)[0].tolist() == wanted + [0] * (20 - len(wanted))


def test_a_tokenizer_is_found_beside_weights(tmp_path):
    (tmp_path / 'model.pt').write_bytes(b'')
    assert find_table(tmp_path / 'model.pt') is None
    planted.write_vocabulary(tmp_path / 'tokenizer.json')
    for place in (tmp_path, tmp_path / 'model.pt'):
        assert find_table(place) == tmp_path / 'tokenizer.json'
    assert open_tokenizer(tmp_path).encode(['red'], 4).tolist() == [[14, 0, 15, 0]]


@pytest.mark.parametrize(
    ('name', 'data', 'says'),
    [
        ('tokenizer.json', b'{}', 'cannot be read as a tokenizer'),
        ('tokenizer.json', b'\xff\xfe', 'cannot be read as a tokenizer'),
        ('bpe.txt.gz', b'no gzip', 'cannot be read as a tokenizer'),
        ('bpe.txt.gz', gzip.compress(bytes(1 << 25)), 'too large'),
        ('vocab.json', b'{"a": 1}', 'cannot be read as a tokenizer'),
    ],
)
def test_other_files_are_no_tokenizer(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TextError, match=says):
        open_tokenizer(tmp_path / name)


def test_the_tokenizer_of_another_model(tmp_path):
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({'a': 0, 'b': 1}, unk_token='a'))
    library.save(str(tmp_path / 'tokenizer.json'))
    with pytest.raises(TextError, match='is not the tokenizer of a CLIP'):
        open_tokenizer(tmp_path / 'tokenizer.json')


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'tokenizers', None)
    with pytest.raises(TextError, match='pip install tokenizers'):
        open_tokenizer(tmp_path)


# --- templates ---


def test_a_text_is_put_into_sentences():
    assert sentences(' the Red mug ', ['a photo of a {}.']) == ['a photo of a Red mug.']
    assert sentences('another', ['{} {}']) == ['another another']
    assert sentences('a {0} %s', ['the {}']) == ['the {0} %s']
    assert sentences('a mug', []) == ['a mug']
    assert len(set(sentences('mug'))) == len(TEMPLATES)


# --- features ---


def test_features_are_averages_of_unit_features(clip):
    found = clip.encode_texts(['red mug', 'blue red'])
    assert found.names == ('red mug', 'blue red') and found.fingerprint == clip.fingerprint
    assert found.features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.features, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.features[0], [1, 0, 0, 0], atol=1e-5)
    one, other = (clip.encode_texts([text], []).features[0] for text in ('red', 'red blue'))
    both = clip.encode_texts(['blue'], ['red', 'red {}']).features[0]
    wanted = one + other
    np.testing.assert_allclose(both, wanted / np.linalg.norm(wanted), atol=1e-5)


@pytest.mark.parametrize(
    ('texts', 'says'),
    [
        ([''], 'has no word in it'),
        (['red', ' \n\t'], 'has no word in it'),
        (['?!'], 'has no word in it'),
        ([], '0 texts are given; 1 to 100000 can be'),
        (['red'] * (MAX_TEXTS + 1), '100001 texts are given'),
        (['red ' * 30], 'has 35 tokens, but the model reads 18; say it in fewer words'),
        (['word ' * 10_000], 'has 50000 characters; say it in fewer words'),
        (['red \udcff'], 'not valid Unicode'),
        ([b'red'], 'is not a text'),
        ([7], 'is not a text'),
    ],
)
def test_texts_that_cannot_be_used(clip, texts, says):
    with pytest.raises(TextError, match=says) as raised:
        clip.encode_texts(texts)
    assert len(str(raised.value)) < 300 and str(raised.value).isprintable()


def test_one_text_is_not_a_list_of_letters(clip):
    image = planted.scene(red=(16, 24, 48, 56))
    assert clip.scores(image, 'red').shape[0] == 1


@pytest.mark.parametrize('text', ['красная кружка', '赤いマグカップ', 'كوب أحمر', 'rød 🫖'])
def test_other_alphabets_are_encoded(clip, text):
    assert np.isfinite(clip.encode_texts([text]).features).all()


def test_many_words(clip):
    done = []
    words = [f'{name} number {n}' for n in range(100) for name in ('red', 'blue')]
    found = clip.encode_texts(words, ['{}'], progress=done.append)
    assert found.features.shape == (200, 4) and done[-1] == 200
    assert clip.scores(planted.scene(), found).shape[0] == 200


def test_a_missing_tokenizer_is_named(tmp_path, cache):
    weights = planted.write(tmp_path)
    os.unlink(tmp_path / 'tokenizer.json')
    with (
        DenseClip.open(None, weights, 'torch') as clip,
        pytest.raises(TextError, match='no tokenizer beside .*tokenizer.json'),
    ):
        clip.encode_texts(['red'])
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    planted.write_vocabulary(elsewhere / 'tokenizer.json')
    for path in (elsewhere, elsewhere / 'tokenizer.json'):
        with DenseClip.open(None, weights, 'torch', tokenizer=path) as clip:
            assert clip.encode_texts(['red']).features.shape == (1, 4)


# --- the cache ---


def test_texts_are_encoded_once(clip, cache, monkeypatch):
    first = clip.encode_texts(['red', 'blue'])
    files = list((cache / 'text').iterdir())
    assert len(files) == 2
    assert not any(stat.S_IMODE(file.stat().st_mode) & 0o022 for file in files)

    def run(inputs):
        raise AssertionError('encoded again')

    session = clip._words._graphs.sessions['text_encoder']
    monkeypatch.setattr(session, 'run', run)
    again = clip.encode_texts(['blue', 'red'])
    assert np.array_equal(again.features, first.features[::-1])
    for other in (['green'], ['red']):
        with pytest.raises(AssertionError, match='encoded again'):
            clip.encode_texts(other, ['another {}'])


@pytest.mark.parametrize('data', [b'', b'damaged', b'\x93NUMPY\x01\x00'])
def test_damaged_files_of_the_cache_are_replaced(clip, cache, data):
    wanted = clip.encode_texts(['red'])
    (file,) = (cache / 'text').iterdir()
    file.write_bytes(data)
    assert np.array_equal(clip.encode_texts(['red']).features, wanted.features)
    assert np.array_equal(np.load(file), wanted.features[0])


def test_what_others_may_write_is_not_used(clip, cache):
    clip.encode_texts(['red'])
    (file,) = (cache / 'text').iterdir()
    np.save(file, np.array([0, 0, 0, 1], np.float32))
    file.chmod(0o666)
    np.testing.assert_allclose(clip.encode_texts(['red']).features[0], [1, 0, 0, 0], atol=1e-5)


def test_without_a_place_for_the_cache(clip, monkeypatch, caplog, tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'file' / 'cache'))
    with caplog.at_level(logging.WARNING):
        assert clip.encode_texts(['red', 'blue']).features.shape == (2, 4)
    assert len(caplog.records) == 1 and 'are not kept' in caplog.text


# --- files of features ---

FEATURES = TextFeatures(('red', 'кружка'), np.eye(2, 3, dtype=np.float32), 'abc')


def test_features_are_saved_and_read(tmp_path):
    FEATURES.save(tmp_path / 'words.npz')
    found = TextFeatures.load(tmp_path / 'words.npz')
    assert found.names == FEATURES.names and found.fingerprint == 'abc'
    assert np.array_equal(found.features, FEATURES.features)
    with np.load(tmp_path / 'words.npz') as arrays:
        assert sorted(arrays.files) == ['features', 'fingerprint', 'names']
    with pytest.raises(OutputError, match='exists'):
        FEATURES.save(tmp_path / 'words.npz')


GOOD = {
    'names': np.array(['red']),
    'features': np.ones((1, 3), np.float32),
    'fingerprint': np.array('abc'),
}


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'names': None}, "'names is not a file in the archive'|names"),
        ({'names': np.array([1])}, 'has no list of texts'),
        ({'names': np.array('red')}, 'has no list of texts'),
        ({'names': np.array(['red'], object)}, 'cannot be read as features of texts'),
        ({'features': np.ones((2, 3), np.float32)}, r'has 1 texts, but features \[2, 3\]'),
        ({'features': np.ones((1, 3))}, 'of the type float64'),
        ({'features': np.full((1, 3), np.nan, np.float32)}, 'is damaged'),
        ({'features': np.ones(1, np.float32)}, 'is damaged'),
        ({'fingerprint': np.array(5)}, 'does not say which model'),
    ],
)
def test_other_files_are_no_features(tmp_path, changes, says):
    arrays = {name: value for name, value in (GOOD | changes).items() if value is not None}
    np.savez(tmp_path / 'words.npz', **arrays)
    with pytest.raises(TextError, match=says):
        TextFeatures.load(tmp_path / 'words.npz')


def test_files_that_are_missing_or_no_archive(tmp_path):
    (tmp_path / 'text.npz').write_text('red\n')
    for name, says in (('none.npz', 'does not exist'), ('text.npz', '`tam words` makes such')):
        with pytest.raises(TextError, match=says):
            TextFeatures.load(tmp_path / name)
