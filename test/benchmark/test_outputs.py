# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of outputs on a few images; durations are not tested."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from benchmark.graph import ROOT


@pytest.mark.slow
def test_every_output_is_measured():
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')
    done = subprocess.run(
        [sys.executable, '-m', 'benchmark.outputs', '--steps', '2'],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(re.findall(r'^\| (\S+) \| ([\d.]+) \| [\d.]+ \|$', done.stdout, re.MULTILINE))
    assert {'labels', 'objects', 'cloud', 'markers', 'overlay', 'labels/compressed'} <= set(rows)
    assert all(float(took) > 0 for took in rows.values())
    bare = re.search(r'all, without a subscriber \| ([\d.]+) \|', done.stdout)
    assert float(bare[1]) < float(rows['objects'])
    assert 'array to rgb8 message' in done.stdout
