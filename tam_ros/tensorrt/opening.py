# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From a folder of graphs to a TensorRT runtime that is ready."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from tam_ros.model_files import TrackerSpec, file_name, read_tracker_spec
from tam_ros.runtime.base import Backend, EngineError, LoadedGraphs, ModelSource, Runtime
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tensorrt.device import Device
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.identity import Machine, l4t_release
from tam_ros.tensorrt.prepare import FULL, Plan, Preparation
from tam_ros.tensorrt.runtime import TensorrtRuntime

_log = logging.getLogger(__name__)

HALF = 'fp16'


def load_tensorrt() -> ModuleType:
    """Import TensorRT.

    Raises:
        EngineError: it is not there, or not complete; says what to do.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise EngineError(
            'TensorRT is not installed for this Python. JetPack brings it (`sudo apt install '
            'python3-libnvinfer`; a virtual environment needs --system-site-packages), see '
            'docs/jetson.md; elsewhere `pip install tensorrt`'
        ) from error
    except ImportError as error:
        raise EngineError(f'TensorRT is installed but does not load: {error}') from error
    if not hasattr(tensorrt, 'Builder'):
        raise EngineError(
            f'the TensorRT that is installed ({tensorrt.__file__}) has no builder: '
            'it is the lean runtime or a leftover; install all of it'
        )
    return tensorrt


def this_machine(trt: ModuleType) -> Machine:
    """Say what plans of now and here belong to; takes no memory of the device.

    Raises:
        EngineError: there is no GPU, or its driver or pycuda is missing.
    """
    from tam_ros.tensorrt.cuda import probe

    return Machine.of(trt.__version__, probe(), l4t_release())


def available_precision(folder: Path, spec: TrackerSpec, precision: str) -> str:
    """Return `fp16` or `fp32`: what is asked for, or for `auto` the first that is there."""
    if precision in (HALF, FULL):
        return precision
    if all((folder / file_name(graph, HALF)).is_file() for graph in spec.graph_names):
        return HALF
    _log.info(
        '%s holds no graphs in half precision: %s is run in single precision', folder, spec.name
    )
    return FULL


def open_tensorrt(
    graphs: Callable[[], Path], precision: str, options: EngineOptions
) -> TensorrtRuntime:
    """Find or build the engines of a folder of graphs, and load them.

    Args:
        graphs: returns the folder; may take its time, and is not called where TensorRT is missing.
        precision: `fp16`, `fp32` or `auto`.
        options: how to build and run.

    Raises:
        EngineError: something is missing; says what to do.
        WeightsError: a graph is missing.
    """
    from tam_ros.tensorrt.cuda import PycudaDevice

    trt = load_tensorrt()
    machine = this_machine(trt)
    folder = graphs()
    spec = read_tracker_spec(folder)
    chosen = available_precision(folder, spec, precision)
    preparation = Preparation(folder, spec, chosen, machine, options)
    # Before the device is taken: what builds needs the memory.
    plans = preparation.plans()
    device = PycudaDevice()
    return load(trt, device, spec, chosen, preparation, plans, options)


def load(
    trt: ModuleType,
    device: Device,
    spec: TrackerSpec,
    precision: str,
    preparation: Preparation,
    plans: dict[str, Plan],
    options: EngineOptions,
) -> TensorrtRuntime:
    """Load plans into a runtime, which takes the device; closes it where that fails.

    A plan that TensorRT refuses is deleted and, if building is wanted, built anew, once.
    """
    free = device.memory().free
    engines: dict[str, Engine] = {}
    try:
        for graph in preparation.graphs:
            try:
                engines[graph] = Engine(trt, graph, plans[graph].data)
            except EngineError as error:
                if plans[graph].fresh:
                    raise
                preparation.discard(graph)
                if options.build == 'never':
                    raise EngineError(
                        f'{error}. It was deleted; build it anew with `tam build {spec.name}`'
                    ) from error
                _log.warning('%s; it is built anew', error)
                plans[graph] = preparation.rebuilt(graph)
                engines[graph] = Engine(trt, graph, plans[graph].data)
        return TensorrtRuntime(
            spec, engines, device, options, _info(trt, device, precision, plans), free
        )
    except BaseException:
        for engine in engines.values():
            engine.close()
        device.close()
        raise


def _info(
    trt: ModuleType, device: Device, precision: str, plans: dict[str, Plan]
) -> dict[str, str]:
    info = {
        'device': device.info.name,
        'precision': precision,
        'engine': f'TensorRT {trt.__version__}, built '
        f'{max(plan.record.built_at for plan in plans.values())}',
    }
    replaced = [graph for graph, plan in plans.items() if plan.record.built_from != precision]
    if replaced:
        info['precision'] = f'{precision}, but {FULL} in {", ".join(replaced)}'
    return info


class TensorrtBackend(Backend):
    """Finds or builds the engines of a model, and runs them."""

    def load(self, source: ModelSource) -> LoadedGraphs:
        """Load the engines of a model of any kind."""
        raise NotImplementedError

    def open_tracker(self, source: ModelSource) -> Runtime:
        """Load a tracker."""
        return open_tensorrt(source.graphs, self.precision, self.engine_options)
