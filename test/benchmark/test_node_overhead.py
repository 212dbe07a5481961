# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the live node on small examples; durations are not tested."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from benchmark import node_overhead
from benchmark.graph import ROOT
from benchmark.stand_in import open_stand_in
from tam_ros.tracking import Prompt, TrackerOptions


def test_the_stand_in_keeps_objects_where_they_were_clicked(monkeypatch):
    monkeypatch.setenv('TAM_STAND_IN_MS', '0')
    tracker = open_stand_in(
        'any', options=TrackerOptions(prompt_history_seconds=1.0, resize='opencv')
    )
    image = np.zeros((90, 160, 3), np.uint8)
    prompts = [Prompt.points(1, [(40, 40)], [1]), Prompt.box(2, (100, 30, 140, 70))]
    for index in range(5):
        frame = tracker.step(image, index / 10, prompts if index == 0 else ())
        assert frame.labels[40, 40] == 1
        assert frame.labels[50, 120] == 2
        assert frame.labels[85, 5] == 0


def test_the_table_of_a_measurement():
    fast = node_overhead.Measurement(np.array([4.0, 6.0, 8.0]), 30.0, 3.0, {'masks': 1.5})
    slow = node_overhead.Measurement(np.array([400.0]), 5.0, 30.0, {})
    found = {('tam_ros', 20.0, (720, 1280)): fast, ('naive', 20.0, (480, 640)): slow}
    text = node_overhead.describe(found)
    assert '| tam_ros | 20 | 1280x720 | 6.0 | 7.8 | 30.0 | 3.0 |' in text
    assert 'masks 1.5. The goal of 10 ms is **met** (model 20 ms).' in text
    found['tam_ros', 20.0, (720, 1280)] = slow
    assert '**NOT met**' in node_overhead.describe(found)


@pytest.mark.slow
def test_a_short_measurement():
    """All processes run, and their results are measured."""
    pytest.importorskip('rclpy', reason='no ROS 2 here: make setup, then . ./env.sh')
    pytest.importorskip('tam_ros.msg', reason='the messages are not compiled: make setup')
    arguments = ['--only', 'tam_ros', '--sizes', '160x120', '--model-ms', '5', '--seconds', '2']
    done = subprocess.run(
        [sys.executable, '-m', 'benchmark.node_overhead', *arguments],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = re.findall(r'\| tam_ros \| 5 \| 160x120 \| (.*) \|', done.stdout)
    p50, p95, rate, cpu = map(float, row.split(' | '))
    assert 0 < p50 <= p95
    assert 0 < rate < 31
    assert cpu > 0
    assert 'Stages of tam_ros at 160x120, p50 in ms: arrival_age' in done.stdout
