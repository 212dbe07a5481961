# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The backend `tensorrt`: prepared engines as sessions, or as the runtime of a tracker."""

from __future__ import annotations

from functools import partial

from tam_ros.model_files import as_tracker
from tam_ros.runtime.base import Backend, LoadedGraphs, ModelSource, Runtime
from tam_ros.runtime.engine_options import EngineOptions
from tam_ros.tensorrt.buffers import Arena
from tam_ros.tensorrt.engine_runner import EngineSession
from tam_ros.tensorrt.prepare import LoadedEngines, prepare
from tam_ros.tensorrt.runtime import TensorrtRuntime


def open_sessions(loaded: LoadedEngines, options: EngineOptions) -> LoadedGraphs:
    """Return a session for each engine. The device is closed with the last of them."""
    device, engines = loaded.device, loaded.engines
    arena = Arena(device)
    still_open = set(engines)

    def closed(name: str) -> None:
        still_open.discard(name)
        if not still_open:
            arena.close()
            device.close()

    try:
        scratch = arena.block(max(engine.scratch_bytes for engine in engines.values()))
        for engine in engines.values():
            engine.prepare(scratch.address)
        sessions = {
            name: EngineSession(
                arena,
                engine,
                options.zero_copy,
                options.cuda_graphs,
                closed=partial(closed, name),
            )
            for name, engine in engines.items()
        }
        device.wait()
    except BaseException:
        device.wait()
        for engine in engines.values():
            engine.close()
        arena.close()
        device.close()
        raise
    return LoadedGraphs(loaded.spec, sessions, loaded.info)


def open_runtime(loaded: LoadedEngines, options: EngineOptions) -> TensorrtRuntime:
    """Return a tracker's runtime on loaded engines, which it closes."""
    try:
        return TensorrtRuntime(
            as_tracker(loaded.spec),
            loaded.engines,
            loaded.device,
            options,
            loaded.info,
            loaded.free_before,
        )
    except BaseException:
        loaded.close()
        raise


class TensorrtBackend(Backend):
    """Finds or builds the engines of a model, and runs them."""

    def load(self, source: ModelSource) -> LoadedGraphs:
        """Load the engines of a model of any kind."""
        preparation = prepare(source.graphs, self.precision, self.engine_options)
        return open_sessions(preparation.load(), self.engine_options)

    def open_tracker(self, source: ModelSource) -> Runtime:
        """Load a tracker."""
        preparation = prepare(source.graphs, self.precision, self.engine_options)
        as_tracker(preparation.spec)  # refuses other kinds before anything is built
        return open_runtime(preparation.load(), self.engine_options)
