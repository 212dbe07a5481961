# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam weights get`: downloads official checkpoints into the cache."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tam_ros import catalogue
from tam_ros.cache import make_cache_folder, take_write_access
from tam_ros.model_files import MAX_WEIGHTS, WeightsError, sha256
from tam_ros.new_output import NewOutput


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
        WeightsError: the catalogue does not say where to download them, or the file is not the one
            that it describes.
        CacheError, NoHomeError: there is no folder for it.
        OSError: the download failed; the message says how to download the file manually.
    """
    from tam_ros.loading import check_pinned, downloaded

    model = catalogue.model(options.model)
    if model.weights.bundled is not None:
        print(f'the weights of {model.name} come with the package; no download is needed')
        return
    path = downloaded(model)
    if path is None:
        raise WeightsError(
            f'the catalogue has no weights for {model.name}; give a checkpoint with --weights'
        )
    if path.exists():
        check_pinned(model, path)
        print(f'{path} exists already')
        return
    folder = make_cache_folder('weights')
    if os.path.expanduser('~') == '~':  # the library needs a place for its own files
        os.environ.setdefault('HF_HOME', str(folder))
    with NewOutput(path) as output:
        # This run has the lock of the name: other drafts are of runs that were killed.
        for draft in path.parent.glob(f'{path.name}.*.partial'):
            if draft != output.partial.parent:
                shutil.rmtree(draft, ignore_errors=True)
        _download(model, output.partial, path)
        take_write_access(output.partial)
        output.publish()
    print(path)


def _download(model: catalogue.Model, file: Path, destination: Path) -> None:
    """Download a checkpoint, and check it.

    Args:
        model: its weights have a repository.
        file: where to write it; the folder is empty.
        destination: for messages: where it will be.

    Raises:
        WeightsError: the hub offers or sends something else than the catalogue describes.
        OSError: the download failed.
    """
    # One file is fetched, from the address that is printed. The other protocol of the library asks
    # several servers, and keeps parts of files in a cache of its own. Read when it is imported.
    os.environ.setdefault('HF_HUB_DISABLE_XET', '1')
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    weights = model.weights
    assert weights.repo is not None and weights.file is not None
    endpoint = os.environ.get('HF_ENDPOINT', '').rstrip('/') or None
    address = hf_hub_url(weights.repo, weights.file, revision=weights.revision, endpoint=endpoint)
    print(f'downloading {address} ({model.licence})', flush=True)
    try:
        offer = get_hf_file_metadata(address)
        _check_offer(model, address, offer)
        if offer.location != address:
            print(f'which leads to {offer.location.partition("?")[0]}', flush=True)
        arrived = hf_hub_download(
            weights.repo,
            weights.file,
            revision=offer.commit_hash,
            local_dir=file.parent,
            endpoint=endpoint,
            force_download=True,  # not a copy from the cache of the library
        )
    except WeightsError:
        raise
    except Exception as error:  # the HTTP library depends on the version of the hub
        reason = ' '.join((str(error) or type(error).__name__).split())[:300]
        raise OSError(
            f'{weights.file} could not be downloaded: {reason}. Download it manually from '
            f'{address} and save it as {destination}, or name the file with --weights'
        ) from error
    found = sha256(Path(arrived))
    expected = weights.sha256 or _stated_sha256(offer)
    if expected is not None and found != expected:
        source = 'the catalogue has' if weights.sha256 else 'the hub states'
        raise WeightsError(
            f'{weights.file} from {address} was deleted: its SHA-256 is {found}, but {source} '
            f'{expected}'
        )
    print(f'SHA-256 {found}, revision {offer.commit_hash}', flush=True)
    if weights.sha256 is None:
        print(
            'The catalogue has no SHA-256 of this file, so it is whatever the hub sent. To accept '
            f'only this one from now on, add to the weights of {model.name} in '
            f"{catalogue.engines_dir() / 'models.yaml'}: revision: '{offer.commit_hash}', "
            f"sha256: '{found}'",
            flush=True,
        )
    Path(arrived).replace(file)


def _check_offer(model: catalogue.Model, address: str, offer: Any) -> None:
    """Check what the hub says of the file before it is downloaded.

    Args:
        model: the catalogue's entry.
        address: that was asked.
        offer: a `huggingface_hub.HfFileMetadata`.

    Raises:
        WeightsError: it is not what the catalogue describes, or is not fetched safely.
    """
    if not re.fullmatch('[0-9a-f]{40}', offer.commit_hash or ''):
        raise WeightsError(f'{address} names no revision, so no hub of Hugging Face answers there')
    pinned = model.weights.revision
    if pinned is not None and offer.commit_hash != pinned:
        raise WeightsError(
            f'{address} is of the revision {offer.commit_hash}, but the catalogue has {pinned}'
        )
    if urlsplit(address).scheme == 'https' and urlsplit(offer.location).scheme != 'https':
        raise WeightsError(f'{address} leads to {offer.location[:200]}, which is not encrypted')
    if offer.size is not None and offer.size > MAX_WEIGHTS:
        raise WeightsError(f'{address} has {offer.size} bytes, above the limit of {MAX_WEIGHTS}')


def _stated_sha256(offer: Any) -> str | None:
    """Return the hash that the hub states: the ETag of a large file is its SHA-256."""
    etag = offer.etag or ''
    return etag if re.fullmatch('[0-9a-f]{64}', etag) else None
