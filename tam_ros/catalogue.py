# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The catalogue of models, `engines/models.yaml`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tam_ros.checked_fields import check_types
from tam_ros.model_files import check_name
from tam_ros.reading import InputError, failing_as, reading
from tam_ros.regular_file import read_regular

_MAX_BYTES = 1 << 20


class CatalogueError(InputError, ValueError):
    """An entry of the catalogue that is not valid; the message names it."""


class UnknownModelError(InputError, ValueError):
    """A model name that is not in the catalogue."""


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model come from; all empty: the user gives a checkpoint.

    Attributes:
        bundled: folder in `engines/` with the weights, and the graphs of the model of that name.
        repo: repository on the Hugging Face hub.
        file: name of the checkpoint in the repository.
        revision: commit of the repository, 40 hexadecimal digits; None: the newest one.
        sha256: of the checkpoint, also of a bundled one; None: not known, so not checked.
    """

    bundled: str | None = None
    repo: str | None = None
    file: str | None = None
    revision: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Check that the fields belong together."""
        for name in ('bundled', 'repo', 'file'):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f'{name} is {value!r}, not a name')
            # They become parts of paths.
            if value is not None and (value[0] in '/~' or '..' in Path(value).parts):
                raise ValueError(f'{name} is {value!r}, which leads to another folder')
        if (self.repo is None) != (self.file is None):
            raise ValueError('repo and file are given together')
        if self.bundled is not None and self.repo is not None:
            raise ValueError('bundled and repo exclude each other')
        # A branch or a tag can be moved by whoever owns the repository; a commit cannot.
        for name, digits in (('revision', 40), ('sha256', 64)):
            value = getattr(self, name)
            if value is not None and not (
                isinstance(value, str) and re.fullmatch(f'[0-9a-f]{{{digits}}}', value)
            ):
                raise ValueError(f'{name} is {value!r}, not {digits} hexadecimal digits')
        if self.revision is not None and self.repo is None:
            raise ValueError('revision is given without repo')
        if self.sha256 is not None and self.repo is None and self.bundled is None:
            raise ValueError('sha256 is given without repo or bundled')


@dataclass(frozen=True)
class Model:
    """One entry of the catalogue.

    Attributes:
        name: name shown to users.
        architecture: name of its family, see `tam_ros.models.build.FAMILIES`.
        description: one line.
        licence: SPDX name of the licence of the weights.
        config: values that differ from the defaults of the family's configuration.
        weights: where its weights come from.
        kind: what the model does: `tracker`.
    """

    name: str
    architecture: str
    description: str
    licence: str
    config: dict[str, Any]
    weights: Weights = field(default_factory=Weights)
    kind: str = 'tracker'

    def __post_init__(self) -> None:
        """Check the values; ValueError says which is wrong."""
        check_types(self)
        check_name(self.name)


def engines_dir() -> Path:
    """Return the folder of the catalogue and the bundled weights.

    It is `engines/` in a source checkout and `share/tam_ros/engines` once installed.
    """
    for parent in Path(__file__).resolve().parents:
        for candidate in (parent / 'engines', parent / 'share' / 'tam_ros' / 'engines'):
            if (candidate / 'models.yaml').is_file():
                return candidate
    raise FileNotFoundError(
        'engines/models.yaml was found neither next to the package nor in share/tam_ros; '
        'the installation is incomplete'
    )


@lru_cache(maxsize=1)
def models() -> dict[str, Model]:
    """Read the catalogue, in the order of the file.

    Raises:
        CatalogueError: the file or an entry is not valid; the message names it.
    """
    path = engines_dir() / 'models.yaml'
    with reading(path, CatalogueError, 'the catalogue of models'):
        entries = yaml.safe_load(read_regular(path, _MAX_BYTES).decode())
        if not isinstance(entries, dict):
            raise ValueError('it is not a mapping of names to models')
        return {name: read_model(name, entry) for name, entry in entries.items()}


def read_model(name: str, entry: dict[str, Any]) -> Model:
    """Read one entry of the catalogue.

    Raises:
        CatalogueError: it is not valid; the message names it.
    """
    with failing_as(CatalogueError, f'the entry {name} of the catalogue is not valid'):
        weights = Weights(**(entry.get('weights') or {}))
        return Model(name=name, **{**entry, 'weights': weights})


def model(name: str) -> Model:
    """Look up a model.

    Raises:
        UnknownModelError: there is no model of that name; the message lists the known ones.
    """
    if name not in models():
        near = ' or '.join(difflib.get_close_matches(name, models(), n=2))
        raise UnknownModelError(
            f'no model {name!r} in the catalogue{f" (did you mean {near}?)" if near else ""}; '
            f'known are {", ".join(models())}'
        )
    return models()[name]
