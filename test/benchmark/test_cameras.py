# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of two cameras: its table, and a short measurement."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from benchmark import cameras
from benchmark.graph import ROOT
from tam_ros.catalogue import engines_dir


def test_the_table_of_a_measurement():
    one = cameras.Measurement(np.array([50.0, 60.0, 70.0]), (9.9, 10.1), 45.0, 210.4, 3.2)
    text = cameras.describe({('one process', 10.0): one})
    assert '| one process | 10 | 9.9 and 10.1 | 60 | 69 | 45 | 210 | 3.2 |' in text
    assert [len(cameras.node_commands(name, [])) for name in cameras.ARRANGEMENTS] == [1, 2]


@pytest.mark.slow
@pytest.mark.skipif(
    not (engines_dir() / 'efficienttam_nano').is_dir(), reason='no trained weights are bundled'
)
def test_a_short_measurement():
    """Both arrangements run, and both cameras have results."""
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')
    done = subprocess.run(
        [sys.executable, '-m', 'benchmark.cameras', '--rates', '3', '--seconds', '3'],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r'\| (\w+ process\w*) \| 3 \| ([\d.]+) and ([\d.]+) \|', done.stdout)
    assert [name for name, *_ in rows] == ['one process', 'two processes']
    assert all(0 < float(rate) < 5 for _, *rates in rows for rate in rates)
