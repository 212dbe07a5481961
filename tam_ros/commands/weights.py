# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam weights get`: downloads official checkpoints into the cache."""

from __future__ import annotations

import argparse
import os

from tam_ros import catalogue
from tam_ros.cache import make_cache_folder, take_write_access
from tam_ros.model_files import WeightsError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('weights', help='download official weights')
    actions = parser.add_subparsers(required=True, metavar='ACTION')
    get = actions.add_parser('get', help="download a model's official checkpoint into the cache")
    get.add_argument('model', help='name of the model, see `tam models`')
    get.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Download the checkpoint, unless it is in the cache.

    Raises:
        UnknownModelError: the model is not in the catalogue.
        WeightsError: the catalogue does not say where to download them.
        CacheError, NoHomeError: there is no folder for it.
        OSError: the download failed; the message says how to download the file manually.
    """
    from tam_ros.loading import downloaded

    model = catalogue.model(options.model)
    repo, file = model.weights.repo, model.weights.file
    if model.weights.bundled is not None:
        print(f'the weights of {model.name} come with the package; no download is needed')
        return
    path = downloaded(model)
    if path is None or repo is None or file is None:
        raise WeightsError(
            f'the catalogue has no weights for {model.name}; give a checkpoint with --weights'
        )
    if path.exists():
        print(f'{path} exists already')
        return
    folder = make_cache_folder(path.parent.name)
    if os.path.expanduser('~') == '~':  # the library needs a place for its own files
        os.environ.setdefault('HF_HOME', str(folder))
    from huggingface_hub import hf_hub_download

    print(f'downloading {file} from https://huggingface.co/{repo} ({model.licence})')
    try:
        hf_hub_download(repo, file, local_dir=folder)
    except Exception as error:  # the HTTP library depends on the version of the hub
        raise OSError(
            f'{file} could not be downloaded: {error}\n'
            f'     Download it manually from https://huggingface.co/{repo}/resolve/main/{file}\n'
            f'     and save it as {path}, or name the file with --weights.'
        ) from error
    take_write_access(path)
    print(path)
