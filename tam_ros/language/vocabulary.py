# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Vocabularies: the classes that tracks may be named after, as a file of words.

One class per line. Further words for it follow after commas, and the most similar one counts:

    # on the table
    mug, cup
    cable
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tam_ros.coco_classes import COCO_CLASSES
from tam_ros.language.arrays import Floats
from tam_ros.language.text_features import TextError, TextFeatures
from tam_ros.printable import one_line
from tam_ros.reading import reading
from tam_ros.regular_file import read_regular

COCO = 'coco'
"""Name of the built-in vocabulary."""

MAX_CLASSES = 100_000
MAX_WORDS = 32  # of one class
_MAX_FILE = 1 << 24  # bytes
_SHOWN = 60


@dataclass(frozen=True)
class Vocabulary:
    """Classes and the words for them.

    Attributes:
        classes: for each class its words, of which the first one is its name. No word is twice.
        repeated: words that were there before, and were left out.
    """

    classes: tuple[tuple[str, ...], ...]
    repeated: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(words[0] for words in self.classes)

    @property
    def words(self) -> tuple[str, ...]:
        """All words, class after class."""
        return tuple(word for words in self.classes for word in words)

    def prototypes(self, encode: Callable[[tuple[str, ...]], TextFeatures]) -> Floats:
        """Return the features of the words by class, [K, P, C].

        Args:
            encode: returns the features of all words, such as `DenseClip.encode_texts`, or
                `chosen_from` features of a file.

        Returns:
            P is the largest number of words; a class with fewer repeats its first one.
        """
        features = encode(self.words).features
        most = max(map(len, self.classes))
        rows, first = [], 0
        for words in self.classes:
            rows.append([first + (index if index < len(words) else 0) for index in range(most)])
            first += len(words)
        return np.asarray(features[np.array(rows)], np.float32)


def coco() -> Vocabulary:
    """Return the classes of COCO."""
    return Vocabulary(tuple((name,) for name in COCO_CLASSES))


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Read a vocabulary.

    Args:
        path: a text file in UTF-8, or `coco`.

    Raises:
        TextError: it does not exist, is not text, has no word, or too many.
    """
    if str(path) == COCO:
        return coco()
    with reading(path, TextError, 'a list of words'):
        text = read_regular(path, _MAX_FILE).decode('utf-8-sig')
    seen: set[str] = set()
    classes, repeated = [], []
    for line in text.splitlines():
        words = []
        for one in line.partition('#')[0].split(','):
            word = ' '.join(one.split())
            if not word:
                continue
            if word.casefold() in seen:
                repeated.append(word)
                continue
            seen.add(word.casefold())
            words.append(word)
        if len(words) > MAX_WORDS:
            raise TextError(
                f'{path} has {len(words)} words for {one_line(words[0], _SHOWN)!r}; a class may '
                f'have {MAX_WORDS}'
            )
        if words:
            classes.append(tuple(words))
    if not 0 < len(classes) <= MAX_CLASSES:
        raise TextError(f'{path} has {len(classes)} classes; 1 to {MAX_CLASSES} can be')
    return Vocabulary(tuple(classes), tuple(repeated))


def chosen_from(features: TextFeatures) -> Callable[[tuple[str, ...]], TextFeatures]:
    """Return a function that looks words up in features of a file.

    Raises (the function):
        TextError: a word is not there.
    """
    places = {name.casefold(): index for index, name in enumerate(features.names)}

    def encode(words: tuple[str, ...]) -> TextFeatures:
        missing = [word for word in words if word.casefold() not in places]
        if missing:
            raise TextError(
                f'the file of features lacks {one_line(missing[0], _SHOWN)!r}'
                + (f' and {len(missing) - 1} more words' if len(missing) > 1 else '')
                + '; make it again with `tam words`'
            )
        rows = [places[word.casefold()] for word in words]
        return TextFeatures(words, features.features[rows], features.fingerprint)

    return encode
