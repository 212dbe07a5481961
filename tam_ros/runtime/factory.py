"""From a model's name and weights to a runtime that is ready."""

from __future__ import annotations

from pathlib import Path

from tam_ros import catalogue
from tam_ros.runtime.base import Runtime, WeightsError

RUNTIMES = ('onnxruntime', 'torch')
UNTRAINED = 'untrained'


def open_runtime(model: str, weights: str | Path | None = None, runtime: str = 'onnxruntime',
                 threads: int | None = None) -> Runtime:
    """Load a model into a backend.

    Args:
        model: catalogue name; it decides the architecture, which a checkpoint does not tell.
        weights: an official checkpoint (``.pt``), a ``.safetensors`` file, or a folder of
            exported graphs; ``'untrained'`` for deterministic random numbers; None for what is
            bundled or was downloaded with ``tam weights get``.
        runtime: one of ``RUNTIMES``.
        threads: CPU threads to use; None leaves it to the library.

    Raises:
        tam_ros.catalogue.UnknownModelError: the name is not in the catalogue.
        WeightsError: the weights are missing, damaged or of another model.
        ValueError: no such runtime.
    """
    entry = catalogue.model(model)
    source = find_weights(entry, weights, runtime)
    if runtime == 'onnxruntime':
        from tam_ros.runtime.graphs import graphs_of
        from tam_ros.runtime.onnxruntime import OnnxRuntime
        return OnnxRuntime(graphs_of(entry, source), threads)
    if runtime == 'torch':
        from tam_ros.runtime.torch import TorchRuntime
        return TorchRuntime(entry, source, threads)
    raise ValueError(f'no runtime {runtime!r}; one of {", ".join(RUNTIMES)}')


def find_weights(entry: catalogue.Model, weights: str | Path | None, runtime: str) -> Path | str:
    """Find the weights of a catalogue entry, see ``open_runtime``.

    Returns:
        A checkpoint, a folder of graphs (onnxruntime only), or ``'untrained'``.
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
        # The graphs there are those of one input size; another size is exported from the weights.
        graphs = runtime == 'onnxruntime' and bundled == entry.name
        path = folder if graphs else folder / f'{bundled}.safetensors'
        if path.exists():
            return path
        raise WeightsError(f'the bundled weights {path} are missing; the installation is '
                           'incomplete')
    path = downloaded(entry)
    if not path.exists():
        raise WeightsError(
            f'no weights of {entry.name} here; fetch them with `tam weights get {entry.name}`, '
            'or give a checkpoint file')
    return path


def downloaded(entry: catalogue.Model) -> Path:
    """Return where ``tam weights get`` puts the checkpoint of an entry."""
    return catalogue.cache_dir() / 'weights' / entry.weights['file']
