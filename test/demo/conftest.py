# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the demo's tests."""

import pytest


@pytest.fixture
def ros():
    """Skip the test where ROS 2 or the compiled messages are missing."""
    pytest.importorskip('rclpy', reason='ROS 2 is not in this environment; run `make test`')
    pytest.importorskip('tam_ros.msg', reason='our messages are not compiled; run `make test`')
