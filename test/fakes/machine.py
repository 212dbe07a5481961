# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Replaces TensorRT and the GPU of this machine by the fakes."""

from __future__ import annotations

import contextlib
import io
import threading
from dataclasses import replace

import pytest

from fakes import trt as fake_trt
from fakes.device import INFO, FakeDevice
from tam_ros.tensorrt import cuda, prepare
from tam_ros.tensorrt.build_process import Request, Result, build_and_check, build_in_process
from tam_ros.tensorrt.builder import Cancelled, ReportProgress


def install(patch: pytest.MonkeyPatch, own_process: bool = False) -> list[FakeDevice]:
    """Install the fakes until the patch is undone; return the devices that will be opened.

    `own_process`: builds run in a process of their own, as they do otherwise; slow.
    """
    devices = []

    def open_device() -> FakeDevice:
        devices.append(FakeDevice())
        return devices[-1]

    patch.setattr(prepare, 'load_tensorrt', fake_trt.make)
    patch.setattr(prepare, 'probe', lambda: INFO)
    patch.setattr(cuda, 'probe', lambda: INFO)
    patch.setattr(prepare, 'PycudaDevice', open_device)
    patch.setattr(prepare, 'build_in_process', _build if own_process else _build_here)
    return devices


def _build(request: Request, report: ReportProgress, cancelled: Cancelled) -> Result:
    return build_in_process(_with_fakes(request), report, cancelled)


def _build_here(request: Request, report: ReportProgress, cancelled: Cancelled) -> Result:
    with contextlib.redirect_stdout(io.StringIO()):  # the messages to a parent process
        return build_and_check(_with_fakes(request), threading.Event())


def _with_fakes(request: Request) -> Request:
    return replace(request, tensorrt='fakes.trt', device='fakes.device:FakeDevice')
