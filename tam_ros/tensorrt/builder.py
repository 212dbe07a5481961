# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One graph, one plan.

Networks are strongly typed, always: every type is in the graph, and nothing but what TensorRT 10.3
to 11.4 have in common is used. The flags that would let the builder choose a precision are gone in
11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.engine import Log
from tam_ros.tensorrt.failures import BuildCancelledError, explain
from tam_ros.tensorrt.progress import monitor

MARGIN_MB = 512  # for everything else on a device that shares its memory with the host
LEAST_MB = 64


@dataclass(frozen=True)
class BuildSettings:
    """How to build.

    Attributes:
        objects: most objects of a run; the profile is 1 to this, chosen for 1: one object alone
            gives matrix products of a thousand rows.
        workspace_mb: memory that tactics may work in; None: TensorRT's own limit, all there is.
    """

    objects: int = 1
    workspace_mb: int | None = None


class Built(NamedTuple):
    """What a build gives.

    Attributes:
        plan: the engine.
        timings: TensorRT's timing cache, with which the next build is faster.
    """

    plan: bytes
    timings: bytes


def workspace_limit_mb(free_mb: float, cap_mb: int | None) -> int:
    """Return what a builder may work in: what is free but for a margin, at most the user's cap."""
    room = max(int(free_mb) - MARGIN_MB, LEAST_MB)
    return room if cap_mb is None else min(room, cap_mb)


def build_plan(
    trt: ModuleType,
    graph: str,
    onnx: bytes,
    settings: BuildSettings,
    timings: bytes = b'',
    report: Callable[[str, float], None] = lambda *_: None,
    cancelled: Callable[[], bool] = lambda: False,
    free_mb: float | None = None,
) -> Built:
    """Build one plan; takes minutes on a robot.

    Args:
        trt: TensorRT (or TensorRT for RTX, which has the same interface).
        graph: its name, for messages.
        onnx: the model, its weights inside.
        settings: see there.
        timings: of an earlier build on the same GPU with the same TensorRT.
        report: called with the phase and the fraction that is done.
        cancelled: asked often; True stops the build.
        free_mb: memory that is free, for messages.

    Raises:
        OutOfMemoryError: however TensorRT puts it.
        BuildCancelledError: `cancelled` said so.
        EngineError: the graph cannot be parsed or built; names the node.
    """
    log = Log(trt)
    stopped = False

    def asked() -> bool:
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
        _profile(builder, network, config, settings.objects)
        # None: of another version; TensorRT says so in the log, and begins anew.
        cache = config.create_timing_cache(timings) or config.create_timing_cache(b'')
        config.set_timing_cache(cache, ignore_mismatch=False)
        progress = monitor(trt, report, asked)
        config.progress_monitor = progress
        plan = builder.build_serialized_network(network, config)
    except (MemoryError, TypeError) as error:
        # TypeError: the library's factories return nothing, where they cannot start.
        raise explain(graph, [*log.errors, str(error) or 'std::bad_alloc'], free_mb) from error
    if plan is None:
        if stopped:
            raise BuildCancelledError(f'building {graph} was cancelled')
        raise explain(graph, log.errors, free_mb)
    cache = config.get_timing_cache()
    return Built(bytes(plan), bytes(cache.serialize()))


def _parse(trt: ModuleType, graph: str, onnx: bytes, network: Any, log: Log) -> None:
    parser = trt.OnnxParser(network, log.logger)
    if parser.parse(onnx):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    lines = [
        f'{error.desc()} (node {error.node()} {error.node_name()} {error.node_operator()})'
        for error in errors
    ]
    raise EngineError(f'TensorRT cannot read the graph {graph}: {"; ".join(lines) or log.last()}')


def _profile(builder: Any, network: Any, config: Any, objects: int) -> None:
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
        profile.set_shape(tensor.name, (1, *rest), (1, *rest), (objects, *rest))
    config.add_optimization_profile(profile)
