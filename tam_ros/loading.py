# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Loading a model: from a catalogue entry and weights to exported graphs in a backend."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from tam_ros import catalogue
from tam_ros.cache import (
    CacheError,
    cache_dir,
    check_trusted,
    make_cache_folder,
    take_write_access,
)
from tam_ros.model_files import (
    DESCRIPTION,
    FORMAT,
    TRACKER,
    UNTRAINED,
    WeightsError,
    read_spec,
    sha256,
)
from tam_ros.runtime.backends import AUTO, BACKENDS, choose_precision, load_backend
from tam_ros.runtime.base import Backend, LoadedGraphs, Runtime
from tam_ros.runtime.engine_options import EngineOptions

_log = logging.getLogger(__name__)


def open_runtime(
    model: str,
    weights: str | Path | None = None,
    runtime: str = 'onnxruntime',
    threads: int | None = None,
    *,
    precision: str = AUTO,
    engines: EngineOptions | None = None,
) -> Runtime:
    """Load a tracker's model into a backend.

    Args:
        model: catalogue name; it selects the architecture, which a checkpoint does not contain.
        weights: an official checkpoint (`.pt`), a `.safetensors` file, or a folder of
            exported graphs; `'untrained'` for deterministic random numbers; None for the bundled
            weights or those downloaded with `tam weights get`.
        runtime: one of `tam_ros.runtime.backends.RUNTIMES`.
        threads: CPU threads to use; None leaves it to the library.
        precision: one of the backend's precisions, or `auto`. One that is not available is an
            error, never replaced by another; the `info` of the runtime reports it.
        engines: options for a backend that builds engines.

    Raises:
        tam_ros.catalogue.UnknownModelError: the name is not in the catalogue.
        WeightsError: the weights are missing, damaged or of another model, or the model is not a
            tracker.
        EngineError: a device or its engines cannot be used.
        ValueError: there is no such runtime, or it does not offer this precision.
    """
    entry = catalogue.model(model)
    if entry.kind != TRACKER:
        raise WeightsError(f'{model} is a {entry.kind}, not a tracker')
    source, backend = _select(entry, weights, runtime, threads, precision, engines)
    return backend.open_tracker(source)


def open_graphs(
    model: str | catalogue.Model,
    weights: str | Path | None = None,
    runtime: str = 'onnxruntime',
    threads: int | None = None,
    *,
    precision: str = AUTO,
    engines: EngineOptions | None = None,
) -> LoadedGraphs:
    """Load the graphs of a model of any kind; arguments and errors as for `open_runtime`.

    The model may also be an entry that is not in the catalogue.
    """
    entry = catalogue.model(model) if isinstance(model, str) else model
    source, backend = _select(entry, weights, runtime, threads, precision, engines)
    return backend.load(source)


def _select(
    entry: catalogue.Model,
    weights: str | Path | None,
    runtime: str,
    threads: int | None,
    precision: str,
    engines: EngineOptions | None,
) -> tuple[CatalogueSource, Backend]:
    choose_precision(runtime, precision)  # raises before anything is read
    source = CatalogueSource(entry, find_weights(entry, weights, runtime, precision))
    return source, load_backend(runtime)(threads, precision, engines)


@dataclass(frozen=True)
class CatalogueSource:
    """A `tam_ros.runtime.base.ModelSource` of a catalogue entry."""

    entry: catalogue.Model
    weights: Path | str

    def graphs(self) -> Path:
        """Return a folder of exported graphs; see `graphs_of`."""
        return graphs_of(self.entry, self.weights)


@dataclass(frozen=True)
class FolderSource:
    """A `tam_ros.runtime.base.ModelSource` of a folder of exported graphs."""

    weights: Path

    @property
    def entry(self) -> catalogue.Model:
        """The catalogue entry that the graphs were exported for."""
        return catalogue.model(read_spec(self.weights).name)

    def graphs(self) -> Path:
        """Return the folder."""
        return self.weights


def open_exported(
    folder: Path,
    runtime: str = 'onnxruntime',
    *,
    threads: int | None = None,
    precision: str = AUTO,
) -> Runtime:
    """Load a tracker from a folder of exported graphs; see `open_runtime`.

    The model need not be in the catalogue, except for a backend that runs the network itself.
    """
    choose_precision(runtime, precision)
    return load_backend(runtime)(threads, precision).open_tracker(FolderSource(folder))


def open_exported_graphs(
    folder: Path,
    runtime: str = 'onnxruntime',
    *,
    threads: int | None = None,
    precision: str = AUTO,
) -> LoadedGraphs:
    """Load the graphs in a folder, of a model of any kind; see `open_exported`."""
    choose_precision(runtime, precision)
    return load_backend(runtime)(threads, precision).load(FolderSource(folder))


def find_weights(
    entry: catalogue.Model, weights: str | Path | None, runtime: str, precision: str = AUTO
) -> Path | str:
    """Find the weights of a catalogue entry, see `open_runtime`.

    Returns:
        A checkpoint, a folder of graphs (not for a backend that runs the network itself), or
        `'untrained'`.

    Raises:
        WeightsError: they do not exist, or are not those that the catalogue has the SHA-256 of;
            the message says how to get them.
        CacheError: downloaded weights that another user could have written.
    """
    if weights is not None and str(weights) == UNTRAINED:
        return UNTRAINED
    if weights is not None:
        path = Path(os.path.expanduser(weights))  # in contrast to Path, also without a home
        if not path.exists():
            raise WeightsError(f'weights {path} do not exist')
        return path
    bundled = entry.weights.bundled
    if bundled:
        folder = catalogue.engines_dir() / bundled
        # The bundled graphs have one input size and single precision. Others are exported from
        # the weights, where PyTorch is installed.
        half = choose_precision(runtime, precision) == 'fp16' and find_spec('torch') is not None
        graphs = BACKENDS[runtime].runs_graphs and bundled == entry.name and not half
        path = folder if graphs else folder / f'{bundled}.safetensors'
        if not path.exists():
            raise WeightsError(
                f'the bundled weights {path} are missing; the installation is incomplete'
            )
        if not graphs:
            check_pinned(entry, path)
        return path
    checkpoint = downloaded(entry)
    if checkpoint is None:
        raise WeightsError(
            f'the catalogue has no weights for {entry.name}; give a checkpoint with --weights'
        )
    if not checkpoint.exists():
        raise WeightsError(
            f'the weights of {entry.name} are not on this machine; fetch them with '
            f'`tam weights get {entry.name}`, or give a checkpoint file'
        )
    check_trusted(checkpoint)
    check_pinned(entry, checkpoint)
    return checkpoint


def check_pinned(entry: catalogue.Model, checkpoint: Path) -> None:
    """Compare a checkpoint with the SHA-256 that the catalogue has for it, if it has one.

    Raises:
        WeightsError: it differs, or the file cannot be read.
    """
    expected = entry.weights.sha256
    if expected is None:
        return
    found = sha256(checkpoint)
    if found != expected:
        remedy = (
            'install the package again'
            if entry.weights.bundled is not None
            else f'remove it and run `tam weights get {entry.name}`'
        )
        raise WeightsError(
            f'{checkpoint} is not the checkpoint of {entry.name}, or damaged: its SHA-256 is '
            f'{found}, but the catalogue has {expected}; {remedy}'
        )


def downloaded(entry: catalogue.Model) -> Path | None:
    """Return where `tam weights get` puts the checkpoint of an entry; None: it has no download.

    Raises:
        NoHomeError: see `cache_dir`.
    """
    if entry.weights.file is None:
        return None
    return cache_dir() / 'weights' / Path(entry.weights.file).name


def graphs_of(entry: catalogue.Model, weights: Path | str) -> Path:
    """Return a folder of exported graphs; a checkpoint is exported into the cache once.

    Several processes may need the same graphs at the same time, as the nodes of
    `cameras.launch.py` do: one exports them, and the others wait for it.

    Args:
        entry: the model.
        weights: from `find_weights`.

    Raises:
        WeightsError: the folder contains no graphs, or the libraries for exporting a checkpoint
            are not installed.
        CacheError, NoHomeError: there is no folder to export a checkpoint into, or another user
            could have written the exported graphs.
    """
    if isinstance(weights, Path) and weights.is_dir():
        if not (weights / DESCRIPTION).is_file():
            raise WeightsError(
                f'{weights} contains no {DESCRIPTION}, so it is not a folder of exported graphs'
            )
        return weights
    identity = sha256(weights) if isinstance(weights, Path) else weights
    key = hashlib.sha256(
        json.dumps([FORMAT, entry.name, entry.config, identity], sort_keys=True).encode()
    ).hexdigest()
    folder = cache_dir() / 'graphs' / f'{entry.name}-{key[:16]}'
    if (folder / DESCRIPTION).is_file():
        check_trusted(folder)
        return folder
    try:
        from tam_ros.export.onnx import export_model
    except ModuleNotFoundError as error:
        raise WeightsError(
            f'{entry.name} has no exported graphs yet and {error.name} is not installed to '
            'export them; run `tam export` where it is, and give the folder as weights'
        ) from error
    make_cache_folder('graphs')
    lock = FileLock(folder.with_name(f'.{folder.name}.lock'))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _log.info('waiting for another process that is exporting the graphs of %s', entry.name)
        lock.acquire()
    try:
        if not (folder / DESCRIPTION).is_file():
            # A folder appears complete. Without its description it was damaged later, and no
            # process can load it.
            shutil.rmtree(folder, ignore_errors=True)
            _log.info('exporting the graphs of %s', entry.name)
            draft = folder.with_name(f'.{folder.name}.new')
            shutil.rmtree(draft, ignore_errors=True)
            export_model(entry, weights, draft)
            take_write_access(draft)
            draft.rename(folder)
        check_trusted(folder)
    except CacheError:
        raise
    except OSError as error:
        raise CacheError(folder, error) from error
    finally:
        lock.release()
    return folder
