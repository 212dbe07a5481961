# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Times of image encoders: which networks are opened, and what becomes of the times."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmark import trunks
from tam_ros.closing import Closing
from tam_ros.model_files import GraphSpec, TensorSpec


class Graphs(Closing):
    """An encoder that takes the seconds of its kind; the first run takes longer."""

    spec = SimpleNamespace(
        graph=lambda name: GraphSpec(name, (TensorSpec('image', 'uint8', (1, 8, 8, 3)),), ())
    )

    def __init__(self, clock, seconds):
        self.sessions = {'image_encoder': self}
        self._clock, self._seconds, self._runs, self.closed = clock, seconds, 0, False

    def run(self, inputs):
        assert inputs['image'].shape == (1, 8, 8, 3)
        self._runs += 1
        self._clock.now += self._seconds / self._runs if self._runs > 1 else 0.0

    def close(self):
        self.closed = True


@pytest.fixture
def opened(monkeypatch):
    clock, made = SimpleNamespace(now=0.0), {}

    def open_graphs(entry, weights, runtime, threads, precision):
        assert (entry.name, weights, threads, precision) == (
            'efficienttam_nano',
            'untrained',
            1,
            'fp32',
        )
        kind = entry.config['trunk_attention']
        made[runtime, kind] = Graphs(clock, {'softmax': 0.06, 'depthwise': 0.03}[kind])
        return made[runtime, kind]

    monkeypatch.setattr(trunks, 'open_graphs', open_graphs)
    monkeypatch.setattr(trunks.time, 'process_time', lambda: clock.now)
    return made


def test_the_fastest_counted_turn_of_each_kind_is_in_the_table(opened, capsys):
    trunks.main(
        ['--runtimes', 'torch', 'openvino', '--kinds', 'softmax', 'depthwise', '--turns', '2']
    )
    lines = capsys.readouterr().out.splitlines()
    assert '| `softmax` | 20.0 | 20.0 |' in lines
    assert '| `depthwise` | 10.0 | 10.0 |' in lines
    assert len(opened) == 4 and all(graphs.closed for graphs in opened.values())
