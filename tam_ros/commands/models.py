# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam models`: the catalogue, and where the weights of each model are."""

from __future__ import annotations

import argparse

from tam_ros import catalogue


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser('models', help='list the models and where their weights are')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print two lines a model."""
    width = max(map(len, catalogue.models()))
    for model in catalogue.models().values():
        print(f'{model.name:{width}}  {model.description}')
        print(f'{"":{width}}  {model.licence}; weights {_whereabouts(model)}')


def _whereabouts(model: catalogue.Model) -> str:
    from tam_ros.loading import downloaded

    if 'bundled' in model.weights:
        there = (catalogue.engines_dir() / model.weights['bundled']).is_dir()
        return 'bundled' if there else 'belong into the package, but are missing'
    path = downloaded(model)
    if path.exists():
        return f'in {path}'
    return f'to be fetched with `tam weights get {model.name}`'
