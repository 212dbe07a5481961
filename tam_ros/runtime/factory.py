# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From a model's name and weights to a runtime that is ready."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tam_ros import catalogue
from tam_ros.runtime.base import Runtime, WeightsError
from tam_ros.runtime.options import EngineOptions

# What each backend can compute in; the first is what `auto` stands for.
PRECISIONS = {
    'onnxruntime': ('fp32', 'fp16'),
    'openvino': ('fp32', 'bf16'),
    'tensorrt': ('fp16', 'fp32'),
    'torch': ('fp32',),
}
RUNTIMES = tuple(PRECISIONS)
AUTO = 'auto'
UNTRAINED = 'untrained'


def open_runtime(
    model: str,
    weights: str | Path | None = None,
    runtime: str = 'onnxruntime',
    threads: int | None = None,
    *,
    precision: str = AUTO,
    engines: EngineOptions | None = None,
) -> Runtime:
    """Load a model into a backend.

    Args:
        model: catalogue name; it decides the architecture, which a checkpoint does not tell.
        weights: an official checkpoint (`.pt`), a `.safetensors` file, or a folder of
            exported graphs; `'untrained'` for deterministic random numbers; None for what is
            bundled or was downloaded with `tam weights get`.
        runtime: one of `RUNTIMES`.
        threads: CPU threads to use; None leaves it to the library.
        precision: one of `PRECISIONS`, or `auto`. What is not there is refused, never
            replaced; what runs is in the `facts` of the runtime.
        engines: what a backend with engines of its own is asked for.

    Raises:
        tam_ros.catalogue.UnknownModelError: the name is not in the catalogue.
        WeightsError: the weights are missing, damaged or of another model.
        EngineError: a device or its engines cannot be used.
        ValueError: no such runtime, or it knows no such precision.
    """
    entry = catalogue.model(model)
    if runtime not in PRECISIONS:
        raise ValueError(f'no runtime {runtime!r}; one of {", ".join(RUNTIMES)}')
    if precision not in (AUTO, *PRECISIONS[runtime]):
        raise ValueError(
            f'{runtime} knows no precision {precision!r}; {AUTO} or one of '
            f'{", ".join(PRECISIONS[runtime])}'
        )
    source = find_weights(entry, weights, runtime, precision)
    chosen = PRECISIONS[runtime][0] if precision == AUTO else precision
    if runtime == 'onnxruntime':
        from tam_ros.runtime.graphs import graphs_of
        from tam_ros.runtime.onnxruntime import OnnxRuntime

        return OnnxRuntime(graphs_of(entry, source), threads, chosen)
    if runtime == 'openvino':
        from tam_ros.runtime.graphs import graphs_of
        from tam_ros.runtime.openvino import OpenVinoRuntime

        return OpenVinoRuntime(graphs_of(entry, source), threads, chosen)
    if runtime == 'tensorrt':
        from tam_ros.plans.opening import open_tensorrt
        from tam_ros.runtime.graphs import graphs_of

        return open_tensorrt(
            lambda: graphs_of(entry, source), precision, engines or EngineOptions()
        )
    from tam_ros.runtime.torch import TorchRuntime

    return TorchRuntime(entry, source, threads)


def find_weights(
    entry: catalogue.Model, weights: str | Path | None, runtime: str, precision: str = AUTO
) -> Path | str:
    """Find the weights of a catalogue entry, see `open_runtime`.

    Returns:
        A checkpoint, a folder of graphs (not for torch), or `'untrained'`.
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
        # The graphs there are those of one input size and of single precision; others are exported
        # from the weights, where there is PyTorch to do so.
        chosen = PRECISIONS[runtime][0] if precision == AUTO else precision
        halved = chosen == 'fp16' and find_spec('torch') is not None
        graphs = runtime != 'torch' and bundled == entry.name and not halved
        path = folder if graphs else folder / f'{bundled}.safetensors'
        if path.exists():
            return path
        raise WeightsError(
            f'the bundled weights {path} are missing; the installation is incomplete'
        )
    path = downloaded(entry)
    if not path.exists():
        raise WeightsError(
            f'no weights of {entry.name} here; fetch them with `tam weights get {entry.name}`, '
            'or give a checkpoint file'
        )
    return path


def downloaded(entry: catalogue.Model) -> Path:
    """Return where `tam weights get` puts the checkpoint of an entry."""
    return catalogue.cache_dir() / 'weights' / entry.weights['file']
