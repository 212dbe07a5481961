# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Texts to CLIP's tokens, by the library `tokenizers` and the table that comes with weights.

The table is one of
- `tokenizer.json`, as transformers publishes it beside its weights;
- `vocab.json` and `merges.txt`, the older form of the same;
- `bpe_simple_vocab_16e6.txt.gz`, the table of OpenAI's repository.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.language.text_features import TextError
from tam_ros.printable import one_line
from tam_ros.reading import failing_as, reading
from tam_ros.regular_file import read_regular

FILES = ('tokenizer.json', 'vocab.json', 'bpe_simple_vocab_16e6.txt.gz')
"""Names under which a table is looked for beside weights; merges are beside `vocab.json`."""

_START, _END = '<|startoftext|>', '<|endoftext|>'
_MERGES = 49152 - 256 - 2  # lines of OpenAI's table that CLIP uses
_MAX_FILE = 1 << 26  # bytes
_MAX_TABLE = 1 << 24  # bytes of OpenAI's table, unpacked; it has 3 MB
# How CLIP divides a text before its words are divided further.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SHOWN = 60  # characters of a text in a message


class Tokenizer:
    """Divides texts into tokens."""

    def __init__(self, library: Any, source: Path) -> None:
        """Wrap a `tokenizers.Tokenizer`.

        Raises:
            TextError: its table is not that of a CLIP.
        """
        self._library, self._source = library, source
        library.no_truncation()
        library.no_padding()
        start, end = library.token_to_id(_START), library.token_to_id(_END)
        # The text tower finds the end of a text by its number, which is the highest.
        if start is None or end != library.get_vocab_size(with_added_tokens=True) - 1:
            raise TextError(
                f'{source} is not the tokenizer of a CLIP: its last word is not {_END}, or '
                f'{_START} is missing'
            )
        self._start, self._end = start, end

    def encode(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """Return the tokens of texts, int64 [T, length], filled up with 0.

        Raises:
            TextError: a text has too many tokens, or the table is damaged.
        """
        tokens = np.zeros((len(texts), length), np.int64)
        with failing_as(TextError, f'{self._source} cannot divide texts into tokens'):
            encoded = self._library.encode_batch(list(texts), add_special_tokens=False)
        for row, text, found in zip(tokens, texts, encoded, strict=True):
            ids = [self._start, *found.ids, self._end]
            if len(ids) > length:
                raise TextError(
                    f'the text {one_line(text, _SHOWN)!r} has {len(found.ids)} tokens, but the '
                    f'model reads {length - 2}; say it in fewer words'
                )
            row[: len(ids)] = ids
        return tokens


def find_table(beside: Path) -> Path | None:
    """Return the table in the folder of a checkpoint or of graphs; None: there is none."""
    folder = beside if beside.is_dir() else beside.parent
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def open_tokenizer(table: Path) -> Tokenizer:
    """Read a table.

    Args:
        table: a file of one of the kinds above, or a folder with one; its name says which.

    Raises:
        TextError: it is missing, damaged or of another model, or `tokenizers` is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise TextError(
            'texts need the package tokenizers: pip install tokenizers, or give features that '
            '`tam words` made'
        ) from error
    path = find_table(table) if table.is_dir() else table
    if path is None:
        raise TextError(f'{table} has none of {", ".join(FILES)}')
    with reading(path, TextError, 'a tokenizer'):
        data = read_regular(path, _MAX_FILE)
        if path.name.endswith('.txt.gz'):
            library = _from_table(tokenizers, data)
        elif path.name == 'vocab.json':
            merges = read_regular(path.with_name('merges.txt'), _MAX_FILE).decode()
            library = _bpe(tokenizers, json.loads(data), _pairs(merges.splitlines()))
        else:
            library = tokenizers.Tokenizer.from_str(data.decode())
        return Tokenizer(library, path)


def _from_table(tokenizers: Any, data: bytes) -> Any:
    with gzip.open(io.BytesIO(data)) as file:
        text = file.read(_MAX_TABLE + 1)
    if len(text) > _MAX_TABLE:
        raise TextError('the table is too large')
    merges = _pairs(text.decode().split('\n')[1 : _MERGES + 1])
    # In OpenAI's order: the bytes, the bytes at the end of a word, what merges make.
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f'{one}</w>' for one in letters), *(a + b for a, b in merges)]
    return _bpe(
        tokenizers, {word: index for index, word in enumerate([*words, _START, _END])}, merges
    )


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Read merges: two words per line; a first line may be a comment."""
    merges = []
    for line in lines:
        if line and not line.startswith('#version'):
            first, second = line.split()
            merges.append((first, second))
    return merges


def _bpe(tokenizers: Any, words: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    library = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=words, merges=merges, end_of_word_suffix='</w>', unk_token=_END
        )
    )
    normalizers, pre_tokenizers = tokenizers.normalizers, tokenizers.pre_tokenizers
    library.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(tokenizers.Regex(r'\s+'), ' '),
            normalizers.Lowercase(),
        ]
    )
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior='removed', invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return library
