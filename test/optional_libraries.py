# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Skips the test files whose libraries are not installed.

A test file imports what it needs at its top, optional libraries included. Where one of the
libraries in `OPTIONAL` is absent, the file is skipped and pytest's summary gives the reason. A
single test that needs more than its file calls `pytest.importorskip`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import pytest

ROS_MISSING = 'ROS 2 is not in this environment: make setup, then . ./env.sh'
MESSAGES_MISSING = 'the messages are not compiled or not found: make setup, then . ./env.sh'
# Modules that a test file may need, and what to say where one is absent.
OPTIONAL = {
    'torch': 'torch is not installed: make test installs it',
    'onnx': 'onnx is not installed: make test installs it',
    'pycocotools': 'pycocotools is not installed: make test installs it',
    'matplotlib': 'matplotlib is not installed: make test installs it',
    'av': 'av is not installed: make test installs it',
    'tokenizers': 'tokenizers is not installed: make test installs it',
    'openvino': 'openvino is not installed: make test installs it',
    'aiohttp': 'aiohttp is not installed: make test installs it',
    'onnxruntime': 'onnxruntime is not installed: make setup installs it',
    'rosbags': 'rosbags is not installed: make setup installs it',
    'mcap': 'mcap is not installed: make setup installs it',
    'rclpy': ROS_MISSING,
    'builtin_interfaces': ROS_MISSING,
    'diagnostic_msgs': ROS_MISSING,
    'geometry_msgs': ROS_MISSING,
    'lifecycle_msgs': ROS_MISSING,
    'rcl_interfaces': ROS_MISSING,
    'rosidl_generator_py': ROS_MISSING,
    'rosidl_runtime_py': ROS_MISSING,
    'sensor_msgs': ROS_MISSING,
    'std_msgs': ROS_MISSING,
    'std_srvs': ROS_MISSING,
    'visualization_msgs': ROS_MISSING,
    'tam_ros.msg': MESSAGES_MISSING,
    'tam_ros.srv': MESSAGES_MISSING,
}


class TestFile(pytest.Module):
    """A test file that is skipped, not failed, where an optional library is absent."""

    __test__ = False

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except Exception as error:  # `CollectError` for an ImportError, others unchanged
            reason = missing_library(error)
            if reason is None:
                raise
        pytest.skip(f'{self.nodeid}: {reason}', allow_module_level=True)


def missing_library(error: BaseException | None) -> str | None:
    """Return what to say where an import failed because an optional library is absent.

    Args:
        error: what the import of a test file raised; the import's error may be its cause.

    Returns:
        None if it failed for another reason, such as a wrong name within an installed library.
    """
    # A backend whose library is absent raises an EngineError because of the import's error.
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    if error is None or error.name is None:
        return None
    for name, reason in OPTIONAL.items():
        if f'{error.name}.'.startswith(f'{name}.') and importlib.util.find_spec(name) is None:
            return reason
    return None
