# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Building one engine from one graph: settings, progress, and what is reported when it fails.

The built engine is a plan: TensorRT's name for a serialized engine, native code for one GPU and
one TensorRT.

Networks are always strongly typed, with every type in the graph, and only what TensorRT 10.3 to
11.4 have in common is used. TensorRT 11 no longer has the flags that let the builder choose a
precision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.engine import Log

MARGIN_MB = 512  # of free memory that the builder leaves to other programs
MIN_WORKSPACE_MB = 64

ReportProgress = Callable[[str, float], None]
"""Called with the phase of a build and the fraction that is done, 0 to 1."""

Cancelled = Callable[[], bool]
"""Called often during a build; returns True to stop it."""


class OutOfMemoryError(EngineError):
    """The builder needed more memory than is available."""


class BuildCancelledError(EngineError):
    """The build was cancelled; engines that were finished before are kept."""


@dataclass(frozen=True)
class BuildSettings:
    """How to build.

    Attributes:
        max_batch: largest batch of a run. The profile covers 1 to this and is optimised for 1: a
            single object already gives matrix products of a thousand rows.
        workspace_mb: memory that the builder's tactics may use; None: TensorRT's own limit, which
            is all memory of the device.
    """

    max_batch: int = 1
    workspace_mb: int | None = None


class BuiltEngine(NamedTuple):
    """Result of a build.

    Attributes:
        plan: the serialized engine.
        timings: TensorRT's timing cache, which makes the next build faster.
    """

    plan: bytes
    timings: bytes


def workspace_limit_mb(free_mb: float, cap_mb: int | None) -> int:
    """Return the workspace of a builder: free memory minus a margin, at most the user's cap."""
    room = max(int(free_mb) - MARGIN_MB, MIN_WORKSPACE_MB)
    return room if cap_mb is None else min(room, cap_mb)


def build_engine(
    trt: ModuleType,
    graph: str,
    onnx: bytes,
    settings: BuildSettings,
    timings: bytes = b'',
    report: ReportProgress = lambda *_: None,
    cancelled: Cancelled = lambda: False,
    free_mb: float | None = None,
) -> BuiltEngine:
    """Build one engine; takes minutes on a robot.

    Args:
        trt: TensorRT (or TensorRT for RTX, which has the same interface).
        graph: its name, for messages.
        onnx: the model, its weights included.
        settings: how to build.
        timings: timing cache of an earlier build on the same GPU with the same TensorRT.
        report: see `ReportProgress`.
        cancelled: see `Cancelled`.
        free_mb: free memory of the device, for messages.

    Raises:
        OutOfMemoryError: the build ran out of memory, however TensorRT reports it.
        BuildCancelledError: `cancelled` returned True.
        EngineError: the graph cannot be parsed or built; names the node.
    """
    log = Log(trt)
    stopped = False

    def stop() -> bool:
        nonlocal stopped
        stopped = stopped or cancelled()
        return stopped

    try:
        builder = trt.Builder(log.logger)
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        network = builder.create_network(1 << int(flag))
        _parse(trt, graph, onnx, network, log)
        config = builder.create_builder_config()
        if settings.workspace_mb is not None:
            config.set_memory_pool_limit(
                trt.MemoryPoolType.WORKSPACE, settings.workspace_mb * 1_000_000
            )
        _add_profile(builder, network, config, settings.max_batch)
        # None where the timings are of another version, which TensorRT logs; start a new cache.
        cache = config.create_timing_cache(timings) or config.create_timing_cache(b'')
        config.set_timing_cache(cache, ignore_mismatch=False)
        # Referred to until the build is over: the config may not keep a reference.
        progress = _monitor(trt, report, stop)
        config.progress_monitor = progress
        plan = builder.build_serialized_network(network, config)
    except (MemoryError, TypeError) as error:
        # TypeError: a factory of the library returned a null pointer.
        raise build_error(graph, [*log.errors, str(error) or 'std::bad_alloc'], free_mb) from error
    if plan is None:
        if stopped:
            raise BuildCancelledError(f'building {graph} was cancelled')
        raise build_error(graph, log.errors, free_mb)
    cache = config.get_timing_cache()
    return BuiltEngine(bytes(plan), bytes(cache.serialize()))


def _parse(trt: ModuleType, graph: str, onnx: bytes, network: Any, log: Log) -> None:
    parser = trt.OnnxParser(network, log.logger)
    if parser.parse(onnx):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    lines = [
        f'{error.desc()} (node {error.node()} {error.node_name()} {error.node_operator()})'
        for error in errors
    ]
    raise EngineError(
        f'TensorRT cannot parse the graph {graph}: {"; ".join(lines) or log.last_error()}'
    )


def _add_profile(builder: Any, network: Any, config: Any, max_batch: int) -> None:
    dynamic = [
        tensor
        for tensor in (network.get_input(index) for index in range(network.num_inputs))
        if -1 in tuple(tensor.shape)
    ]
    if not dynamic:
        return
    profile = builder.create_optimization_profile()
    for tensor in dynamic:
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, (1, *rest), (1, *rest), (max_batch, *rest))
    config.add_optimization_profile(profile)


# --- progress ---


class _Phase(NamedTuple):
    parent: str | None
    steps: int
    done: int


class Phases:
    """Nested phases, as the builder reports them, as one fraction that never decreases."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._reached = 0.0
        self.current = ''

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase, within the current step of its parent."""
        self._phases[name] = _Phase(parent, max(steps, 1), 0)
        self.current = name

    def step(self, name: str, step: int) -> None:
        """Complete a step, counted from 0."""
        if name in self._phases:
            self._phases[name] = self._phases[name]._replace(done=step + 1)

    def finish(self, name: str) -> None:
        """End a phase."""
        phase = self._phases.pop(name, None)
        if phase is not None and phase.parent is None:
            self._reached = 1.0
        elif phase is not None and phase.parent is not None:
            self.current = phase.parent

    @property
    def fraction(self) -> float:
        """The fraction that is done, 0 to 1."""
        roots = [name for name, phase in self._phases.items() if phase.parent is None]
        if roots:
            self._reached = max(self._reached, min(self._within(roots[0]), 1.0))
        return self._reached

    def _within(self, name: str) -> float:
        phase = self._phases[name]
        inner = [
            self._within(child) for child, other in self._phases.items() if other.parent == name
        ]
        return (phase.done + max(inner, default=0.0)) / phase.steps


def _monitor(trt: ModuleType, report: ReportProgress, cancelled: Cancelled) -> Any:
    """Return a progress monitor for a builder, which calls it in threads of its own."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases.start(phase_name, parent_phase, num_steps)
            report(phase_name, self.phases.fraction)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.phases.step(phase_name, step)
            report(phase_name, self.phases.fraction)
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            self.phases.finish(phase_name)
            report(self.phases.current, self.phases.fraction)

    return Monitor()


# --- failures ---

# TensorRT rarely reports "out of memory". It skips every tactic that does not get its memory, then
# reports that it found no implementation for a node, and the user looks for a fault in the model.
_OUT_OF_MEMORY = re.compile(
    r'out of memory|outofmemory|bad_alloc|cannot allocate memory|could not find any implementation'
    r'|insufficient (workspace|memory)|requested amount of (gpu )?memory|cuda ?malloc'
    r'|memory allocation|cudaErrorMemoryAllocation|cuMemAlloc|\boom\b|nvmapmem',
    re.IGNORECASE,
)
ADVICE = (
    'What helps, in this order: close other programs, a desktop and a browser first of all (`sudo '
    'systemctl isolate multi-user.target`); add swap (docs/jetson.md); limit the workspace of the '
    'builder (`tam build --workspace 512`); build for fewer objects per run (--max-objects 1); '
    'use a smaller model.'
)


def build_error(graph: str, errors: Sequence[str], free_mb: float | None = None) -> EngineError:
    """Return the error of a failed build.

    Args:
        graph: the graph that was built.
        errors: what the builder logged, oldest first.
        free_mb: free memory of the device when the build began.
    """
    of_memory = [text for text in errors if _OUT_OF_MEMORY.search(text)]
    if of_memory:
        return out_of_memory(graph, of_memory[0], free_mb)
    reason = errors[0] if errors else 'TensorRT logged no error'
    return EngineError(f'TensorRT cannot build {graph}: {reason}')


def out_of_memory(graph: str, evidence: str, free_mb: float | None = None) -> OutOfMemoryError:
    """Return the error of a build that ran out of memory, with what to change."""
    free = '' if free_mb is None else f' ({free_mb:.0f} MB were free)'
    return OutOfMemoryError(
        f'building {graph} ran out of memory{free}: {_short(evidence)}. {ADVICE}'
    )


def _short(text: str, limit: int = 300) -> str:
    line = ' '.join(text.split()).rstrip('.')
    return line if len(line) <= limit else line[:limit] + '…'
