# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Features of texts by the text tower of a CLIP, kept on disk."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tam_ros.cache import cache_dir, check_trusted, make_cache_folder, take_write_access
from tam_ros.language.arrays import Floats, unit
from tam_ros.language.templates import TEMPLATES, sentences
from tam_ros.language.text_features import TextError, TextFeatures
from tam_ros.language.tokenizer import FILES, Tokenizer, find_table, open_tokenizer
from tam_ros.printable import one_line
from tam_ros.regular_file import read_regular
from tam_ros.runtime.base import LoadedGraphs

GRAPH = 'text_encoder'
MAX_TEXTS = 100_000
_FORMAT = 1  # of the files and of how they are computed
_BATCH = 32  # sentences in one run
_MAX_CHARACTERS = 10_000  # of one text; the model reads 75 tokens
_MAX_ENTRY = 1 << 16  # bytes of a file in the cache
_SHOWN = 60

_log = logging.getLogger(__name__)


class TextEncoder:
    """Texts to features; nothing is loaded before it is needed."""

    def __init__(
        self, graphs: LoadedGraphs, identity: str, dim: int, weights: Path, table: Path | None
    ) -> None:
        """Keep what is needed.

        Args:
            graphs: of a CLIP; it need not have a text tower.
            identity: of the weights; features are kept under it.
            dim: D.
            weights: file or folder of the weights, beside which the tokenizer is looked for.
            table: file or folder of the tokenizer's table; None: beside the weights.
        """
        self._graphs = graphs
        self._identity = identity
        self._dim = dim
        self._weights = weights
        self._table = table
        self._tokenizer: Tokenizer | None = None
        self._folder: Path | None = None
        self._caches = True

    def encode(
        self,
        texts: Sequence[str],
        templates: Sequence[str] = TEMPLATES,
        progress: Callable[[int], object] = lambda done: None,
    ) -> TextFeatures:
        """Encode texts; each is averaged over the templates.

        Args:
            texts: words or a few words each.
            templates: see `tam_ros.language.templates`.
            progress: called with the number of texts that are done.

        Raises:
            TextError: a text is empty or too long, there are too many, the model has no text
                tower, or its tokenizer is missing.
        """
        checked = [_checked(text) for text in texts]
        if not 0 < len(checked) <= MAX_TEXTS:
            raise TextError(f'{len(checked)} texts are given; 1 to {MAX_TEXTS} can be')
        features = np.zeros((len(checked), self._dim), np.float32)
        missing = []
        for index, text in enumerate(checked):
            cached = self._read(text, templates)
            if cached is None:
                missing.append(index)
            else:
                features[index] = cached
        done = len(checked) - len(missing)
        for index, feature in zip(
            missing, self._compute([checked[i] for i in missing], templates), strict=True
        ):
            features[index] = feature
            self._write(checked[index], templates, feature)
            done += 1
            progress(done)
        return TextFeatures(tuple(checked), features, self._identity)

    def _compute(self, texts: list[str], templates: Sequence[str]) -> Iterator[Floats]:
        """Yield the features of texts."""
        if not texts:
            return
        if GRAPH not in self._graphs.sessions:
            raise TextError(
                f'{self._graphs.spec.name} has no text tower in {self._weights}; give features '
                'that `tam words` made with the whole checkpoint'
            )
        length = self._graphs.spec.graph(GRAPH).inputs[0].shape[0]
        per_text = max(1, len(templates))
        step = max(1, _BATCH // per_text)
        for first in range(0, len(texts), step):
            some = texts[first : first + step]
            tokens = self._open_tokenizer().encode(
                [sentence for text in some for sentence in sentences(text, templates)], length
            )
            found = self._graphs.sessions[GRAPH].run({'tokens': tokens})['text_features']
            yield from unit(unit(found).reshape(len(some), per_text, -1).mean(axis=1))

    def _open_tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            table = self._table or find_table(self._weights)
            if table is None:
                raise TextError(
                    f'there is no tokenizer beside {self._weights}; put one of '
                    f'{", ".join(FILES)} there, as it comes with the weights, or name it'
                )
            self._tokenizer = open_tokenizer(table)
        return self._tokenizer

    # --- features on disk ---

    def _path(self, text: str, templates: Sequence[str]) -> Path:
        key = json.dumps([_FORMAT, self._identity, list(templates), text])
        name = hashlib.sha256(key.encode()).hexdigest()
        return cache_dir() / 'text' / f'{name}.npy'

    def _read(self, text: str, templates: Sequence[str]) -> Floats | None:
        try:
            path = self._path(text, templates)
            data = read_regular(path, _MAX_ENTRY)
            check_trusted(path)
            feature = np.load(io.BytesIO(data), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None  # not there, damaged, or another user's: it is computed
        good = feature.shape == (self._dim,) and feature.dtype == np.float32
        return feature if good and np.isfinite(feature).all() else None

    def _write(self, text: str, templates: Sequence[str], feature: Floats) -> None:
        if not self._caches:
            return
        try:
            if self._folder is None:
                self._folder = make_cache_folder('text')
            descriptor, name = tempfile.mkstemp(dir=self._folder, suffix='.part')
            with os.fdopen(descriptor, 'wb') as file:
                np.save(file, feature)
            take_write_access(Path(name))
            Path(name).replace(self._path(text, templates))
        except OSError as error:
            self._caches = False
            _log.warning('features of texts are not kept: %s', error)


def _checked(text: str) -> str:
    """Return a text with single spaces between its words.

    Raises:
        TextError: it is empty, too long, or not text.
    """
    if not isinstance(text, str):
        raise TextError(f'{one_line(repr(text), _SHOWN)} is not a text')
    if len(text) > _MAX_CHARACTERS:
        raise TextError(
            f'the text {one_line(text, _SHOWN)!r} has {len(text)} characters; say it in fewer '
            'words'
        )
    words = ' '.join(text.split())
    if not any(one.isalnum() for one in words):
        raise TextError(f'the text {one_line(text, _SHOWN)!r} has no word in it')
    try:
        words.encode()
    except UnicodeEncodeError as error:
        raise TextError(f'the text {one_line(text, _SHOWN)!r} is not valid Unicode') from error
    return words
