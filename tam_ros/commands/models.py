# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam models`: lists the catalogue, and where the weights of each model are."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tam_ros import catalogue
from tam_ros.cache import NoHomeError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('models', help='list the models and where their weights are')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print two lines per model."""
    width = max(map(len, catalogue.models()))
    for model in catalogue.models().values():
        print(f'{model.name:{width}}  {model.description}')
        print(f'{"":{width}}  {model.licence}; weights {_location(model)}')


def _location(model: catalogue.Model) -> str:
    from tam_ros.loading import downloaded

    if model.weights.bundled is not None:
        present = (catalogue.engines_dir() / model.weights.bundled).is_dir()
        return 'bundled' if present else 'missing, although they belong to the package'
    try:
        path = downloaded(model)
    except NoHomeError:  # `tam weights get` says what to do
        path = Path()
    if path is None:
        return 'not in the catalogue; give a checkpoint with --weights'
    if os.path.isfile(path):  # in contrast to Path.exists, also where the folder cannot be read
        return f'in {path}'
    return f'not downloaded; get them with `tam weights get {model.name}`'
