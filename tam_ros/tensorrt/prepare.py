# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""From a folder of graphs to loaded engines: found in the cache, or built, checked and saved."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from tam_ros import __version__
from tam_ros.graph_files import graph_file
from tam_ros.model_files import ModelSpec, file_name, read_spec, sha256
from tam_ros.runtime.base import EngineError
from tam_ros.runtime.engine_options import DEFAULT_MAX_OBJECTS, BuildProgress, EngineOptions
from tam_ros.tensorrt.build_process import Request, Result, build_in_process
from tam_ros.tensorrt.builder import Cancelled, ReportProgress
from tam_ros.tensorrt.cuda import PycudaDevice, probe
from tam_ros.tensorrt.device import Device
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.engine_cache import CacheLookup, EngineCache, EngineRecord
from tam_ros.tensorrt.golden import cached_references
from tam_ros.tensorrt.identity import Identity, Machine, l4t_release

_log = logging.getLogger(__name__)

HALF, SINGLE = 'fp16', 'fp32'
Build = Callable[[Request, ReportProgress, Cancelled], Result]


def load_tensorrt() -> ModuleType:
    """Import TensorRT.

    Raises:
        EngineError: it is missing or incomplete; the message says what to do.
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
        raise EngineError(f'TensorRT is installed but cannot be imported: {error}') from error
    if not hasattr(tensorrt, 'Builder'):
        raise EngineError(
            f'the installed TensorRT ({tensorrt.__file__}) has no builder: it is the lean runtime '
            'or the remains of another installation; install the full TensorRT'
        )
    return tensorrt  # type: ignore[no-any-return]


def this_machine(trt: ModuleType) -> Machine:
    """Describe this machine; allocates no memory of the device.

    Raises:
        EngineError: there is no GPU, or its driver or pycuda is missing.
    """
    return Machine.of(trt.__version__, probe(), l4t_release())


def available_precision(folder: Path, spec: ModelSpec, precision: str) -> str:
    """Return `fp16` or `fp32`; for `auto` half precision if the folder has such graphs."""
    if precision in (HALF, SINGLE):
        return precision
    if all((folder / file_name(graph, HALF)).is_file() for graph in spec.graph_names):
        return HALF
    _log.warning(
        '%s contains no graphs in half precision: %s runs in single precision', folder, spec.name
    )
    return SINGLE


@dataclass(frozen=True)
class LoadedEngines:
    """Engines on an open device.

    Attributes:
        spec: spec of the model.
        engines: by graph, not prepared yet.
        device: open in this thread.
        info: see `Runtime`.
        free_before: bytes that were free on the device before the engines were loaded.
    """

    spec: ModelSpec
    engines: dict[str, Engine]
    device: Device
    info: dict[str, str]
    free_before: int

    def close(self) -> None:
        """Release the engines and the device."""
        for engine in self.engines.values():
            engine.close()
        self.device.close()


@dataclass(frozen=True)
class EnginePlan:
    """A serialized engine that may be loaded.

    Attributes:
        data: the engine, verified against its record.
        record: record of the engine.
        fresh: it was built just now.
    """

    data: bytes
    record: EngineRecord
    fresh: bool


class EnginePreparation:
    """Finds or builds the engines of one model on one machine, and loads them.

    Attributes:
        spec: spec of the model.
        precision: `fp16` or `fp32`.
        machine: where the engines will run.
        options: how to build and run them.
    """

    def __init__(
        self,
        trt: ModuleType,
        folder: Path,
        spec: ModelSpec,
        precision: str,
        machine: Machine,
        options: EngineOptions,
        cache: EngineCache | None = None,
        build: Build | None = None,
    ) -> None:
        """Remember what to prepare; nothing is read or built yet.

        Args:
            trt: TensorRT, to load engines with.
            folder: folder of graphs.
            spec: see the class.
            precision: see the class.
            machine: see the class.
            options: see the class.
            cache: the engine cache; None: the user's.
            build: builds and checks one engine; None: in a process of its own.
        """
        self.spec, self.precision = spec, precision
        self.machine, self.options = machine, options
        self._trt, self._folder = trt, folder
        self._cache = cache or EngineCache()
        self._build = build or build_in_process

    def identity(self, graph: str) -> Identity:
        """Return the identity of a graph's engine."""
        file = graph_file(self._folder, graph, self.precision)
        return Identity(self.spec.name, graph, self.precision, sha256(file), self.machine)

    def find(self, graph: str) -> CacheLookup:
        """Look up a graph's engine in the cache."""
        return self._cache.find(self.identity(graph), self.options.max_objects)

    def discard(self, graph: str) -> None:
        """Remove a graph's engine from the cache."""
        self._cache.discard(self.identity(graph))

    def plans(self) -> dict[str, EnginePlan]:
        """Return the engines of all graphs; builds missing ones if the options allow it.

        Raises:
            EngineError: engines are missing and may not be built, or cannot be.
            BuildCancelledError: the options cancelled it; engines that were finished are kept.
            WeightsError: a graph is missing.
        """
        found = {graph: self.find(graph) for graph in self.spec.graph_names}
        missing = [graph for graph, one in found.items() if one.plan is None]
        if missing and self.options.build == 'never':
            raise EngineError(
                f'{found[missing[0]].reason}; build the engines of {self.spec.name} with '
                f'`tam build {self.spec.name}` (minutes, once), or start the node with '
                'build_engines:=if_missing'
            )
        plans = {
            graph: EnginePlan(one.plan, one.record, fresh=False)
            for graph, one in found.items()
            if one.plan is not None and one.record is not None
        }
        if missing:
            with self._cache.locked(self._waiting, self._cancelled):
                for index, graph in enumerate(missing):
                    plans[graph] = self._find_or_build(graph, index, len(missing))
        return plans

    def load(self, open_device: Callable[[], Device] | None = None) -> LoadedEngines:
        """Find or build the engines, then open the device and load them.

        An engine that TensorRT cannot load is deleted and, if the options allow it, built again,
        once.

        Args:
            open_device: None: opens the first GPU.

        Raises:
            EngineError: an engine cannot be loaded; or see `plans`.
            BuildCancelledError, WeightsError: see `plans`.
        """
        plans = self.plans()  # before the device is opened: a build needs its memory
        device = (open_device or PycudaDevice)()
        engines: dict[str, Engine] = {}
        try:
            free = device.memory().free
            for graph in plans:
                try:
                    engines[graph] = Engine(self._trt, graph, plans[graph].data)
                except EngineError as error:
                    plans[graph] = self._replace(graph, plans[graph], error)
                    engines[graph] = Engine(self._trt, graph, plans[graph].data)
            info = engine_info(self._trt, device, self.precision, plans)
            return LoadedEngines(self.spec, engines, device, info, free)
        except BaseException:
            for engine in engines.values():
                engine.close()
            device.close()
            raise

    def _replace(self, graph: str, plan: EnginePlan, error: EngineError) -> EnginePlan:
        """Delete an engine that cannot be loaded and build it again, unless it was just built."""
        if plan.fresh:
            raise error
        self.discard(graph)
        if self.options.build == 'never':
            raise EngineError(
                f'{error}. It was deleted; build it again with `tam build {self.spec.name}`'
            ) from error
        _log.warning('%s; building it again', error)
        with self._cache.locked(self._waiting, self._cancelled):
            return self._find_or_build(graph, 0, 1)

    def _find_or_build(self, graph: str, index: int, graphs: int) -> EnginePlan:
        again = self.find(graph)  # another process may have built it while this one waited
        if again.plan is not None and again.record is not None:
            return EnginePlan(again.plan, again.record, fresh=False)
        # A build takes minutes; a warning tells the user why it is necessary.
        _log.warning('building %s: %s', graph, again.reason)

        def report(phase: str, fraction: float) -> None:
            if self.options.progress is not None:
                self.options.progress(BuildProgress(graph, index, graphs, phase, fraction))

        report('starting', 0.0)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(
            prefix='.build-', dir=self._cache.folder(self._cache.root)
        ) as scratch:
            request = self._request(graph, Path(scratch))
            result, built_from, note = self._build_checked(graph, request, report)
            plan = Path(request.plan).read_bytes()
            timings = Path(request.timings)
            if timings.is_file():
                self._cache.save_timings(self.machine.key(), timings.read_bytes())
        record = self._cache.save(
            self.identity(graph),
            plan,
            objects=request.max_batch,
            built_from=built_from,
            check=result.check,
            note=note,
            seconds=round(time.monotonic() - began, 1),
            workspace_mb=result.workspace_mb,
            tam_ros=__version__,
        )
        report('done', 1.0)
        return EnginePlan(plan, record, fresh=True)

    def _build_checked(
        self, graph: str, request: Request, report: ReportProgress
    ) -> tuple[Result, str, str]:
        """Build an engine that agrees with the reference, in single precision if necessary.

        Returns:
            The result, the precision of the graph it was built from, and a note on why that is
            not the one asked for.
        """
        result = self._build(request, report, self._cancelled)
        if result.good:
            return result, self.precision, ''
        where = f'on {self.machine.gpu} with TensorRT {self.machine.tensorrt}'
        if self.precision == SINGLE:
            raise EngineError(
                f'the engine of {graph} does not agree with its graph ({result.check}) {where}, '
                'and is not used. Another release of TensorRT or JetPack may be right'
            )
        note = f'the engine in {self.precision} computes wrong results here ({result.check})'
        _log.warning('%s is built in single precision: %s', graph, note)
        request = replace(request, onnx=str(graph_file(self._folder, graph, SINGLE)))
        result = self._build(request, report, self._cancelled)
        if not result.good:
            raise EngineError(
                f'the engine of {graph} does not agree with its graph in single precision either '
                f'({result.check}) {where}, and is not used'
            )
        return result, SINGLE, note

    def _request(self, graph: str, scratch: Path) -> Request:
        golden = cached_references(self._cache, self._folder, self.spec)
        timings = scratch / 'timings'
        earlier = self._cache.timings(self.machine.key())
        if earlier:
            timings.write_bytes(earlier)
        return Request(
            graph=graph,
            onnx=str(graph_file(self._folder, graph, self.precision)),
            plan=str(scratch / 'plan'),
            max_batch=self.options.max_objects or DEFAULT_MAX_OBJECTS,
            workspace_mb=self.options.workspace_mb,
            golden=str(golden),
            timings=str(timings),
        )

    def _waiting(self) -> None:
        _log.info('another process is building engines; waiting for it')

    def _cancelled(self) -> bool:
        return self.options.cancelled is not None and self.options.cancelled()


def prepare(
    graphs: Callable[[], Path], precision: str, options: EngineOptions
) -> EnginePreparation:
    """Return what finds or builds the engines of a folder of graphs on this machine.

    TensorRT and the GPU are checked first, before the graphs are fetched or exported.

    Args:
        graphs: returns the folder; may take long.
        precision: `fp16`, `fp32` or `auto`.
        options: how to build and run.

    Raises:
        EngineError: TensorRT, pycuda or a GPU is missing; says what to do.
        WeightsError: the folder is not one of exported graphs.
    """
    trt = load_tensorrt()
    machine = this_machine(trt)
    folder = graphs()
    spec = read_spec(folder)
    chosen = available_precision(folder, spec, precision)
    return EnginePreparation(trt, folder, spec, chosen, machine, options)


def engine_info(
    trt: ModuleType, device: Device, precision: str, plans: dict[str, EnginePlan]
) -> dict[str, str]:
    """Return what a user should know of the engines, see `Runtime.info`."""
    info = {
        'device': device.info.name,
        'precision': precision,
        'engine': f'TensorRT {trt.__version__}, built '
        f'{max(plan.record.built_at for plan in plans.values())}',
    }
    replaced = [graph for graph, plan in plans.items() if plan.record.built_from != precision]
    if replaced:
        info['precision'] = f'{precision}, but {SINGLE} in {", ".join(replaced)}'
    return info
