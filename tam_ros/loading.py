# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Where a model is put together: catalogue entry, weights, exported graphs, backend."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from tam_ros import catalogue
from tam_ros.model_files import DESCRIPTION, FORMAT, UNTRAINED, WeightsError, read_spec, sha256
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
        model: catalogue name; it decides the architecture, which a checkpoint does not tell.
        weights: an official checkpoint (`.pt`), a `.safetensors` file, or a folder of
            exported graphs; `'untrained'` for deterministic random numbers; None for what is
            bundled or was downloaded with `tam weights get`.
        runtime: one of `tam_ros.runtime.backends.RUNTIMES`.
        threads: CPU threads to use; None leaves it to the library.
        precision: one of the backend's precisions, or `auto`. One that is not available is
            refused, never replaced; what runs is in the `info` of the runtime.
        engines: for a backend that builds engines.

    Raises:
        tam_ros.catalogue.UnknownModelError: the name is not in the catalogue.
        WeightsError: the weights are missing, damaged or of another model.
        EngineError: a device or its engines cannot be used.
        ValueError: there is no such runtime, or it does not offer this precision.
    """
    source, backend = _prepare(model, weights, runtime, threads, precision, engines)
    return backend.open_tracker(source)


def open_graphs(
    model: str,
    weights: str | Path | None = None,
    runtime: str = 'onnxruntime',
    threads: int | None = None,
    *,
    precision: str = AUTO,
    engines: EngineOptions | None = None,
) -> LoadedGraphs:
    """Load the graphs of a model of any kind; arguments and errors as for `open_runtime`."""
    source, backend = _prepare(model, weights, runtime, threads, precision, engines)
    return backend.load(source)


def _prepare(
    model: str,
    weights: str | Path | None,
    runtime: str,
    threads: int | None,
    precision: str,
    engines: EngineOptions | None,
) -> tuple[CatalogueSource, Backend]:
    entry = catalogue.model(model)
    choose_precision(runtime, precision)  # refuses what is not offered before anything is read
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
    """Load a tracker from a folder of exported graphs; see `open_runtime`."""
    choose_precision(runtime, precision)
    return load_backend(runtime)(threads, precision).open_tracker(FolderSource(folder))


def find_weights(
    entry: catalogue.Model, weights: str | Path | None, runtime: str, precision: str = AUTO
) -> Path | str:
    """Find the weights of a catalogue entry, see `open_runtime`.

    Returns:
        A checkpoint, a folder of graphs (not for a backend that runs the network itself), or
        `'untrained'`.

    Raises:
        WeightsError: they do not exist; says how to get them.
    """
    if weights is not None and str(weights) == UNTRAINED:
        return UNTRAINED
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.exists():
            raise WeightsError(f'weights {path} do not exist')
        return path
    bundled = entry.weights.get('bundled')
    if bundled:
        folder = catalogue.engines_dir() / bundled
        # The bundled graphs are those of one input size and of single precision; others are
        # exported from the weights, where PyTorch is installed.
        half = choose_precision(runtime, precision) == 'fp16' and find_spec('torch') is not None
        graphs = BACKENDS[runtime].runs_graphs and bundled == entry.name and not half
        path = folder if graphs else folder / f'{bundled}.safetensors'
        if path.exists():
            return path
        raise WeightsError(
            f'the bundled weights {path} are missing; the installation is incomplete'
        )
    path = downloaded(entry)
    if not path.exists():
        raise WeightsError(
            f'the weights of {entry.name} are not on this machine; fetch them with '
            f'`tam weights get {entry.name}`, or give a checkpoint file'
        )
    return path


def downloaded(entry: catalogue.Model) -> Path:
    """Return where `tam weights get` puts the checkpoint of an entry."""
    return catalogue.cache_dir() / 'weights' / entry.weights['file']


def graphs_of(entry: catalogue.Model, weights: Path | str) -> Path:
    """Return a folder of graphs; a checkpoint that was not exported yet is, into the cache.

    Several processes may ask for the same graphs at once, as the nodes of `cameras.launch.py` do:
    one exports them, the others wait for it.

    Args:
        entry: the model.
        weights: of `find_weights`.

    Raises:
        WeightsError: the folder holds no graphs, or a checkpoint cannot be exported here.
    """
    if isinstance(weights, Path) and weights.is_dir():
        if not (weights / DESCRIPTION).is_file():
            raise WeightsError(
                f'{weights} holds no {DESCRIPTION}, so it is not a folder of exported graphs'
            )
        return weights
    identity = sha256(weights) if isinstance(weights, Path) else weights
    key = hashlib.sha256(
        json.dumps([FORMAT, entry.name, entry.config, identity], sort_keys=True).encode()
    ).hexdigest()
    folder = catalogue.cache_dir() / 'graphs' / f'{entry.name}-{key[:16]}'
    if (folder / DESCRIPTION).is_file():
        return folder
    try:
        from tam_ros.export.onnx import export_model
    except ModuleNotFoundError as error:
        raise WeightsError(
            f'{entry.name} has no exported graphs yet and {error.name} is not installed to '
            'export them; run `tam export` where it is, and give the folder as weights'
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f'.{folder.name}.lock')):
        if not (folder / DESCRIPTION).is_file():
            _log.info('exporting the graphs of %s', entry.name)
            export_model(entry, weights, folder)
    return folder
