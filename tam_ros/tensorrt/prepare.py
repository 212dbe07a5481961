# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""All plans of a model: found in the cache, or built, checked and put there."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tam_ros import __version__
from tam_ros.model_files import TrackerSpec, graph_file, sha256
from tam_ros.runtime.base import EngineError
from tam_ros.runtime.engine_options import DEFAULT_MAX_OBJECTS, BuildProgress, EngineOptions
from tam_ros.tensorrt.build_process import build_apart
from tam_ros.tensorrt.engine_cache import Found, PlanCache, Record
from tam_ros.tensorrt.golden import kept_references
from tam_ros.tensorrt.identity import Identity, Machine
from tam_ros.tensorrt.worker import Request, Result

_log = logging.getLogger(__name__)

FULL = 'fp32'
Build = Callable[[Request, Callable[[str, float], None], Callable[[], bool]], Result]


@dataclass(frozen=True)
class Plan:
    """A plan that may be loaded.

    Attributes:
        data: the engine, checked against its record.
        record: what is known of it.
        fresh: it was built just now.
    """

    data: bytes
    record: Record
    fresh: bool


class Preparation:
    """What it takes to find or build the plans of one model on one machine."""

    def __init__(
        self,
        folder: Path,
        spec: TrackerSpec,
        precision: str,
        machine: Machine,
        options: EngineOptions,
        cache: PlanCache | None = None,
        build: Build | None = None,
    ) -> None:
        """Nothing is done yet.

        Args:
            folder: of graphs.
            spec: of the model.
            precision: `fp16` or `fp32`.
            machine: where the plans will run.
            options: how to build.
            cache: None: the user's.
            build: builds and checks one plan; None: a process of its own.
        """
        self.graphs = spec.graph_names
        self._folder, self._spec, self._precision = folder, spec, precision
        self._machine, self._options = machine, options
        self._cache = cache or PlanCache()
        self._build = build or build_apart

    def identity(self, graph: str) -> Identity:
        """Return what a plan of a graph must belong to."""
        file = graph_file(self._folder, graph, self._precision)
        return Identity(self._spec.name, graph, self._precision, sha256(file), self._machine)

    def find(self, graph: str) -> Found:
        """Look for a plan in the cache."""
        return self._cache.find(self.identity(graph), self._options.max_objects)

    def discard(self, graph: str) -> None:
        """Remove a plan that cannot be loaded."""
        self._cache.discard(self.identity(graph))

    def plans(self) -> dict[str, Plan]:
        """Return the plans of all graphs, building those that are missing if that is wanted.

        Raises:
            EngineError: some are missing and must not be built, or cannot.
            BuildCancelledError: the options said so; what was finished is kept.
        """
        found = {graph: self.find(graph) for graph in self.graphs}
        missing = [graph for graph, one in found.items() if one.plan is None]
        if missing and self._options.build == 'never':
            raise EngineError(
                f'{found[missing[0]].reason}; build the engines of {self._spec.name} with '
                f'`tam build {self._spec.name}` (minutes, once), or start the node with '
                'build_engines:=if_missing'
            )
        plans = {
            graph: Plan(one.plan, one.record, fresh=False)
            for graph, one in found.items()
            if one.plan is not None and one.record is not None
        }
        if missing:
            with self._cache.locked(self._waiting, self._cancelled):
                for index, graph in enumerate(missing):
                    plans[graph] = self._made(graph, index, len(missing))
        return plans

    def rebuilt(self, graph: str) -> Plan:
        """Build a plan anew, whatever the cache holds."""
        self.discard(graph)
        with self._cache.locked(self._waiting, self._cancelled):
            return self._made(graph, 0, 1)

    def _made(self, graph: str, index: int, graphs: int) -> Plan:
        again = self.find(graph)  # somebody else may have built it while we waited
        if again.plan is not None and again.record is not None:
            return Plan(again.plan, again.record, fresh=False)
        # Minutes go by from here: whoever waits is told why.
        _log.warning('building %s: %s', graph, again.reason)

        def report(phase: str, fraction: float) -> None:
            if self._options.progress is not None:
                self._options.progress(BuildProgress(graph, index, graphs, phase, fraction))

        report('starting', 0.0)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(
            prefix='.build-', dir=self._cache.folder(self._cache.root)
        ) as scratch:
            request = self._request(graph, Path(scratch))
            result, built_from, note = self._checked(graph, request, report)
            plan = Path(request.plan).read_bytes()
            timings = Path(request.timings)
            if timings.is_file():
                self._cache.save_timings(self._machine.key(), timings.read_bytes())
        record = self._cache.save(
            self.identity(graph),
            plan,
            objects=request.objects,
            built_from=built_from,
            check=result.check,
            note=note,
            seconds=round(time.monotonic() - began, 1),
            workspace_mb=result.workspace_mb,
            tam_ros=__version__,
        )
        report('done', 1.0)
        return Plan(plan, record, fresh=True)

    def _checked(
        self, graph: str, request: Request, report: Callable[[str, float], None]
    ) -> tuple[Result, str, str]:
        """Build a plan that computes what it should, in single precision if need be."""
        result = self._build(request, report, self._cancelled)
        if result.good:
            return result, self._precision, ''
        if self._precision == FULL:
            raise EngineError(
                f'the engine of {graph} computes something else than its graph ({result.check}) '
                f'on {self._machine.gpu} with TensorRT {self._machine.tensorrt}; it is not used. '
                'Another release of TensorRT or JetPack may be right'
            )
        note = f'in {self._precision} it is wrong here ({result.check})'
        _log.warning('%s is built in single precision: %s', graph, note)
        request = replace(request, onnx=str(graph_file(self._folder, graph, FULL)))
        result = self._build(request, report, self._cancelled)
        if not result.good:
            raise EngineError(
                f'the engine of {graph} is wrong in single precision, too '
                f'({result.check}), on {self._machine.gpu} with TensorRT '
                f'{self._machine.tensorrt}; it is not used'
            )
        return result, FULL, note

    def _request(self, graph: str, scratch: Path) -> Request:
        golden = kept_references(self._cache, self._folder, self._spec)
        timings = scratch / 'timings'
        known = self._cache.timings(self._machine.key())
        if known:
            timings.write_bytes(known)
        return Request(
            graph=graph,
            onnx=str(graph_file(self._folder, graph, self._precision)),
            plan=str(scratch / 'plan'),
            objects=self._options.max_objects or DEFAULT_MAX_OBJECTS,
            workspace_mb=self._options.workspace_mb,
            golden=str(golden),
            timings=str(timings),
        )

    def _waiting(self) -> None:
        _log.info('another process builds engines; waiting for it')

    def _cancelled(self) -> bool:
        return self._options.cancelled is not None and self._options.cancelled()
