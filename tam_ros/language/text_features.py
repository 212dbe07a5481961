# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Features of texts as a file, so that a robot needs neither a text tower nor a tokenizer."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tam_ros.language.arrays import Floats
from tam_ros.new_output import NewOutput
from tam_ros.reading import InputError, reading
from tam_ros.regular_file import read_regular

SUFFIX = '.npz'
_MAX_FILE = 1 << 30  # bytes; 100,000 texts of 1024 numbers have 0.4 GB
_MAX_TEXTS = 1_000_000
_FINGERPRINT_SHOWN = 12


class TextError(InputError, ValueError):
    """Texts or their features cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class TextFeatures:
    """Texts and their features.

    Attributes:
        names: the texts, T of them.
        features: float32 [T, D], of length 1.
        fingerprint: of the model whose text tower made them, see `ModelSpec.fingerprint`.
    """

    names: tuple[str, ...]
    features: Floats
    fingerprint: str

    def check(self, fingerprint: str, dim: int) -> None:
        """Check that they belong to a model.

        Raises:
            TextError: they are of another one, whose features mean something else.
        """
        if self.fingerprint != fingerprint:
            raise TextError(
                'the text features are of another model '
                f'({self.fingerprint[:_FINGERPRINT_SHOWN]}) than the image tower '
                f'({fingerprint[:_FINGERPRINT_SHOWN]}); make them again with `tam words` and '
                'these weights'
            )
        if self.features.shape[1] != dim:
            raise TextError(
                f'the text features have {self.features.shape[1]} numbers, those of images {dim}'
            )

    def save(self, path: str | Path) -> None:
        """Write a new `.npz` file.

        Raises:
            OutputError: it exists, or cannot be written.
        """
        with NewOutput(path) as output:
            buffer = io.BytesIO()
            np.savez(
                buffer,
                names=np.array(self.names, dtype=np.str_),
                features=self.features,
                fingerprint=np.array(self.fingerprint),
            )
            output.partial.write_bytes(buffer.getvalue())
            output.publish()

    @classmethod
    def load(cls, path: str | Path) -> TextFeatures:
        """Read a file that `save` wrote.

        Raises:
            TextError: it does not exist or is something else.
        """
        with reading(path, TextError, 'features of texts', advice='`tam words` makes such a file'):
            with np.load(io.BytesIO(read_regular(path, _MAX_FILE)), allow_pickle=False) as arrays:
                names, features = arrays['names'], arrays['features']
                fingerprint = arrays['fingerprint']
            if names.ndim != 1 or names.dtype.kind != 'U' or not 0 < len(names) <= _MAX_TEXTS:
                raise TextError(f'{path} has no list of texts')
            if features.dtype != np.float32 or features.shape[:1] != names.shape:
                raise TextError(
                    f'{path} has {len(names)} texts, but features {list(features.shape)} of the '
                    f'type {features.dtype}'
                )
            if features.ndim != 2 or not np.isfinite(features).all():
                raise TextError(f'{path} is damaged: its features are not rows of finite numbers')
            if fingerprint.ndim or fingerprint.dtype.kind != 'U':
                raise TextError(f'{path} does not say which model its features are of')
            return cls(tuple(map(str, names)), features, str(fingerprint))
