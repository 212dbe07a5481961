# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of images that arrive, on small examples; what it measures is not tested."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from benchmark import arrivals
from benchmark.graph import ROOT


def test_the_table():
    loads = {(480, 854, 10.0): 0.523, (720, 1280, 30.0): 1.0}
    text = arrivals.describe({('auto', arrivals.Camera(True, False)): loads})
    assert '| camera | profile | `qos_reliability` | 854x480, 10 Hz | 1280x720, 30 Hz |' in text
    assert '| reliable | no | `auto` | 52 % | 100 % |' in text


@pytest.mark.slow
def test_a_short_measurement():
    """All processes run, and small images arrive."""
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')
    arguments = ['--seconds', '1', '--sizes', '160x120', '--rates', '10', '--reliability', 'auto']
    done = subprocess.run(
        [sys.executable, '-m', 'benchmark.arrivals', *arguments],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shares = re.findall(r'`auto` \| (\d+) % \|', done.stdout)
    assert len(shares) == len(arrivals.CAMERAS)
    assert max(map(int, shares)) > 50
