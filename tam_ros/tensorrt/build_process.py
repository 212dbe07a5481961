# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Building in a process of its own, seen from outside: `worker` is the other end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import IO

from tam_ros.runtime.base import EngineError
from tam_ros.tensorrt.failures import (
    BuildCancelledError,
    OutOfMemoryError,
    explain,
    out_of_memory,
)
from tam_ros.tensorrt.worker import Request, Result

GRACE_S = 20.0  # for a builder to come to the end of a step when it is cancelled
_POLL_S = 0.2


def build_apart(
    request: Request, report: Callable[[str, float], None], cancelled: Callable[[], bool]
) -> Result:
    """Build one plan in a process of its own, and wait for it.

    Args:
        request: what to build.
        report: called with the phase and the fraction that is done.
        cancelled: asked several times a second; True stops it. So does an exception in here.

    Returns:
        A result of the kind `built`.

    Raises:
        OutOfMemoryError: TensorRT said so, or the kernel ended the process.
        BuildCancelledError: `cancelled` said so.
        EngineError: whatever else the worker says, or that it crashed.
    """
    with tempfile.TemporaryFile('w+') as errors:
        process = subprocess.Popen(
            [sys.executable, '-m', 'tam_ros.tensorrt.worker'],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
        )
        try:
            result = _follow(process, request, report, cancelled)
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


def _follow(
    process: subprocess.Popen[str],
    request: Request,
    report: Callable[[str, float], None],
    cancelled: Callable[[], bool],
) -> Result | None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asdict(request)) + '\n')
        process.stdin.flush()
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    result = None
    stopped_at: float | None = None
    while True:
        if stopped_at is None and cancelled():
            stopped_at = time.monotonic()
            _close(process.stdin)
        if stopped_at is not None and time.monotonic() - stopped_at > GRACE_S:
            return Result('cancelled', f'building {request.graph} was cancelled')
        try:
            line = lines.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return result
        try:
            said = json.loads(line)
        except ValueError:
            continue  # a library that prints
        if 'result' in said:
            result = Result(**said['result'])
        elif 'phase' in said:
            report(said['phase'], said['fraction'])


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


def _crash(graph: str, status: int, said: str) -> EngineError:
    """Return the error of a worker that ended without a word."""
    lines = [line for line in said.splitlines() if line.strip()]
    if status == -signal.SIGKILL:
        return out_of_memory(graph, 'the kernel killed the builder, as it does when none is left')
    last = lines[-1] if lines else 'it said nothing'
    how = signal.Signals(-status).name if status < 0 else f'status {status}'
    return explain(
        graph,
        [line for line in lines if 'alloc' in line or 'memory' in line.lower()]
        or [f'the builder ended with {how}: {last}'],
    )
