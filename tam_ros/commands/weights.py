# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam weights get`: official checkpoints into the cache."""

from __future__ import annotations

import argparse

from tam_ros import catalogue


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    parser = commands.add_parser('weights', help='fetch official weights')
    actions = parser.add_subparsers(required=True, metavar='ACTION')
    get = actions.add_parser('get', help="download a model's official checkpoint into the cache")
    get.add_argument('model', help='name of the model, see `tam models`')
    get.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Fetch one checkpoint, unless it is there.

    Raises:
        UnknownModelError: no such model.
        OSError: it could not be fetched; the message says how to do it by hand.
    """
    from tam_ros.loading import downloaded

    model = catalogue.model(options.model)
    if 'bundled' in model.weights:
        print(f'the weights of {model.name} come with the package; there is nothing to fetch')
        return
    path = downloaded(model)
    if path.exists():
        print(f'{path} is here already')
        return
    repo, file = model.weights['repo'], model.weights['file']
    from huggingface_hub import hf_hub_download

    print(f'fetching {file} from https://huggingface.co/{repo} ({model.licence})')
    try:
        hf_hub_download(repo, file, local_dir=path.parent)
    except Exception as error:  # of whichever HTTP library this version of the hub uses
        raise OSError(
            f'{file} could not be fetched: {error}\n'
            f'     It can be fetched by hand from https://huggingface.co/{repo}/resolve/main/{file}'
            f'\n     and put at {path}, or given with --weights.'
        ) from error
    print(path)
