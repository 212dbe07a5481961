# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A process that builds and checks one plan.

A process of its own gives its memory back when it is done, and where the kernel kills it for want
of memory, somebody is left to say so; a robot's node must not go down with it. It is asked by one
line of JSON on its standard input, which stays open: when it closes the build is cancelled, so
that none is left behind by whoever asked. It answers with lines of JSON: progress, and one result.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt import golden
from tam_ros.tensorrt.builder import BuildSettings, build_plan, workspace_limit_mb
from tam_ros.tensorrt.device import Device
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.failures import BuildCancelledError, OutOfMemoryError
from tam_ros.tensorrt.self_check import check_engine

TENSORRT = 'tensorrt'
DEVICE = 'tam_ros.tensorrt.cuda:PycudaDevice'


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        graph: name.
        onnx: file.
        plan: file to write; belongs to whoever asks.
        objects: see `BuildSettings`.
        workspace_mb: the user's cap on the workspace, or None.
        golden: file of reference outputs; None: the plan is not checked.
        timings: file of TensorRT's timing cache, read and written.
        tensorrt: module to build with.
        device: `module:class` of the device; None: there is none, the plan is only built.
    """

    graph: str
    onnx: str
    plan: str
    objects: int
    workspace_mb: int | None
    golden: str | None
    timings: str
    tensorrt: str = TENSORRT
    device: str | None = DEVICE


@dataclass(frozen=True)
class Result:
    """What came of it.

    Attributes:
        kind: `built`, `memory`, `cancelled` or `error`.
        message: of an error.
        good: whether the plan computes what it should.
        check: how it compared, in words.
        workspace_mb: that the builder was given.
    """

    kind: str
    message: str = ''
    good: bool = True
    check: str = 'not checked'
    workspace_mb: int | None = None


def main() -> int:
    """Do what the request asks; the exit status is 0 however that ends."""
    request = Request(**json.loads(sys.stdin.readline()))
    stop = threading.Event()

    def watch() -> None:
        # Not through sys.stdin: its lock would be held when the interpreter ends, which it abhors.
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        result = work(request, stop)
    except OutOfMemoryError as error:
        result = Result('memory', str(error))
    except BuildCancelledError as error:
        result = Result('cancelled', str(error))
    except (EngineError, OSError, ValueError) as error:
        result = Result('error', str(error))
    _say(result=asdict(result))
    return 0


def work(request: Request, stop: threading.Event) -> Result:
    """Build, check, and write the plan and the timings."""
    trt = importlib.import_module(request.tensorrt)
    device = _open(request.device)
    try:
        free_mb = None if device is None else device.memory().free / 1e6
        workspace = (
            request.workspace_mb
            if free_mb is None
            else workspace_limit_mb(free_mb, request.workspace_mb)
        )
        timings = Path(request.timings)
        built = build_plan(
            trt,
            request.graph,
            Path(request.onnx).read_bytes(),
            BuildSettings(request.objects, workspace),
            timings.read_bytes() if timings.is_file() else b'',
            _reporter(),
            stop.is_set,
            free_mb,
        )
        timings.write_bytes(built.timings)
        good, check = True, 'not checked'
        if device is not None and request.golden is not None:
            _say(phase='comparing with the reference', fraction=1.0)
            engine = Engine(trt, request.graph, built.plan)
            agreement = check_engine(
                engine, device, golden.load(Path(request.golden))[request.graph]
            )
            engine.close()
            good, check = agreement.good, str(agreement)
        Path(request.plan).write_bytes(built.plan)
        return Result('built', good=good, check=check, workspace_mb=workspace)
    finally:
        if device is not None:
            device.close()


def _open(name: str | None) -> Device | None:
    if name is None:
        return None
    module, kind = name.split(':')
    return getattr(importlib.import_module(module), kind)()


def _reporter() -> Any:
    last = [0.0]

    def report(phase: str, fraction: float) -> None:
        now = time.monotonic()
        if now - last[0] >= 0.1:
            last[0] = now
            _say(phase=phase, fraction=fraction)

    return report


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main())
