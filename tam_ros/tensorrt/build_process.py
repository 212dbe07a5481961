# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Building and checking one engine in a process of its own: the caller's side and that process.

The process releases all memory of the build when it ends. If the kernel kills it for lack of
memory, the caller, a robot's node for instance, keeps running and can report it.

`python -m tam_ros.tensorrt.build_process` reads a `Request` as one line of JSON from its standard
input, which stays open: when it is closed the build is cancelled, so that no build outlives its
caller. It writes lines of JSON: progress, and one `Result`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.builder import (
    BuildCancelledError,
    BuildSettings,
    Cancelled,
    OutOfMemoryError,
    ReportProgress,
    build_engine,
    build_error,
    out_of_memory,
    workspace_limit_mb,
)
from tam_ros.tensorrt.device import Device
from tam_ros.tensorrt.engine import Engine
from tam_ros.tensorrt.golden import load_references
from tam_ros.tensorrt.self_check import check_engine

TENSORRT = 'tensorrt'
DEVICE = 'tam_ros.tensorrt.cuda:PycudaDevice'
GRACE_S = 20.0  # for a cancelled builder to finish its current step
_POLL_S = 0.2
_REPORT_S = 0.1


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        graph: name.
        onnx: file.
        plan: file to write the engine to, in a folder of the caller.
        max_batch: see `BuildSettings`.
        workspace_mb: the user's limit of the workspace, or None.
        golden: file of reference outputs; None: the engine is not checked.
        timings: file of TensorRT's timing cache, read and written.
        tensorrt: module to build with.
        device: `module:class` of the device; None: without a device; the engine is only built.
    """

    graph: str
    onnx: str
    plan: str
    max_batch: int
    workspace_mb: int | None
    golden: str | None
    timings: str
    tensorrt: str = TENSORRT
    device: str | None = DEVICE


@dataclass(frozen=True)
class Result:
    """Outcome of a build.

    Attributes:
        kind: `built`, `memory`, `cancelled` or `error`.
        message: message of an error.
        good: whether the engine agrees with the reference.
        check: result of the comparison, as text.
        workspace_mb: limit of the builder's workspace.
    """

    kind: str
    message: str = ''
    good: bool = True
    check: str = 'not checked'
    workspace_mb: int | None = None


# --- the caller's side ---


def build_in_process(request: Request, report: ReportProgress, cancelled: Cancelled) -> Result:
    """Build one engine in a process of its own, and wait for it.

    Args:
        request: what to build.
        report: called with the phase and the fraction that is done. An exception in it cancels the
            build.
        cancelled: called several times a second; True cancels the build. So does an exception.

    Returns:
        A result of the kind `built`.

    Raises:
        OutOfMemoryError: TensorRT reported it, or the kernel killed the process.
        BuildCancelledError: `cancelled` returned True.
        EngineError: the build failed for another reason, or the process crashed.
    """
    with tempfile.TemporaryFile('w+') as errors:
        process = subprocess.Popen(
            [sys.executable, '-m', 'tam_ros.tensorrt.build_process'],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
        )
        try:
            result = _wait_for_result(process, request, report, cancelled)
        finally:
            _end(process)
        if result is None:
            errors.seek(0)
            raise _crash(request.graph, process.returncode, errors.read())
    if result.kind == 'built':
        return result
    if result.kind == 'memory':
        raise OutOfMemoryError(result.message)
    if result.kind == 'cancelled':
        raise BuildCancelledError(result.message)
    raise EngineError(result.message)


def _wait_for_result(
    process: subprocess.Popen[str], request: Request, report: ReportProgress, cancelled: Cancelled
) -> Result | None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asdict(request)) + '\n')
        process.stdin.flush()
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    result = None
    cancelled_at: float | None = None
    while True:
        if cancelled_at is None and cancelled():
            cancelled_at = time.monotonic()
            _close(process.stdin)
        if cancelled_at is not None and time.monotonic() - cancelled_at > GRACE_S:
            return Result('cancelled', f'building {request.graph} was cancelled')
        try:
            line = lines.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return result
        try:
            message = json.loads(line)
        except ValueError:
            continue  # output of a library
        if 'result' in message:
            result = Result(**message['result'])
        elif 'phase' in message:
            report(message['phase'], message['fraction'])


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _close(stream: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    _close(process.stdin)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _crash(graph: str, status: int, stderr: str) -> EngineError:
    """Return the error of a process that ended without a result."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if status == -signal.SIGKILL:
        return out_of_memory(graph, 'the builder was killed, as the kernel does without memory')
    last = lines[-1] if lines else 'it printed no error'
    how = signal.Signals(-status).name if status < 0 else f'status {status}'
    return build_error(
        graph,
        [line for line in lines if 'alloc' in line or 'memory' in line.lower()]
        or [f'the builder ended with {how}: {last}'],
    )


# --- the process ---


def main() -> int:
    """Build what the request on standard input names; the exit status is always 0."""
    request = Request(**json.loads(sys.stdin.readline()))
    stop = threading.Event()

    def watch() -> None:
        # Not through sys.stdin: the interpreter cannot finalise it while a thread holds its lock.
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        result = build_and_check(request, stop)
    except OutOfMemoryError as error:
        result = Result('memory', str(error))
    except BuildCancelledError as error:
        result = Result('cancelled', str(error))
    except (EngineError, OSError, ValueError) as error:
        result = Result('error', str(error))
    _send(result=asdict(result))
    return 0


def build_and_check(request: Request, stop: threading.Event) -> Result:
    """Build and check an engine; write it and the timing cache to the files of the request."""
    trt = importlib.import_module(request.tensorrt)
    device = _open_device(request.device)
    try:
        free_mb = None if device is None else device.memory().free / 1e6
        workspace = (
            request.workspace_mb
            if free_mb is None
            else workspace_limit_mb(free_mb, request.workspace_mb)
        )
        timings = Path(request.timings)
        built = build_engine(
            trt,
            request.graph,
            Path(request.onnx).read_bytes(),
            BuildSettings(request.max_batch, workspace),
            timings.read_bytes() if timings.is_file() else b'',
            _reporter(),
            stop.is_set,
            free_mb,
        )
        timings.write_bytes(built.timings)
        good, check = True, 'not checked'
        if device is not None and request.golden is not None:
            _send(phase='comparing with the reference', fraction=1.0)
            golden = load_references(Path(request.golden))[request.graph]
            agreement = check_engine(Engine(trt, request.graph, built.plan), device, golden)
            good, check = agreement.good, str(agreement)
        Path(request.plan).write_bytes(built.plan)
        return Result('built', good=good, check=check, workspace_mb=workspace)
    finally:
        if device is not None:
            device.close()


def _open_device(name: str | None) -> Device | None:
    if name is None:
        return None
    module, _, kind = name.partition(':')
    device: Device = getattr(importlib.import_module(module), kind)()
    return device


def _reporter() -> ReportProgress:
    last = 0.0

    def report(phase: str, fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_S:
            last = now
            _send(phase=phase, fraction=fraction)

    return report


def _send(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main())
