# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of injected faults: what it injects, counts and draws."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmark import faults
from tam_ros.faults.agreement import Comparison, PairChange
from tam_ros.faults.baseline import learn_baseline, save_baseline


class Silent:
    """In place of an agreement that takes a second to learn: nothing has changed."""

    mean = np.zeros(13)
    channels = faults.simulate(2, np.random.default_rng(0))[0]

    def compare(self, values):
        return Comparison((PairChange('left/area', 'right/area', 0.9, 0.9, 0.2, 0.0),), ())


def stretch() -> faults.Stretch:
    values = faults.simulate(faults.RECENT, np.random.default_rng(3))[1]
    return faults.Stretch(Silent(), values, np.ones(13))


@pytest.mark.parametrize('fault', faults.FAULTS, ids=lambda fault: fault.words)
def test_a_fault_changes_its_channels_and_no_others(fault):
    one = stretch()
    values, faulty = faults.damage(one, fault, np.random.default_rng(0))
    changed = {
        name
        for name, before, after in zip(Silent.channels, one.values.T, values.T, strict=True)
        if not np.array_equal(before, after)
    }
    assert changed == faulty == set(fault.channels)


def test_simulated_channels_agree_as_they_should():
    channels, values = faults.simulate(2000, np.random.default_rng(0))
    agreement = np.corrcoef(values, rowvar=False)
    place = channels.index
    assert agreement[place('left/area'), place('depth/distance')] < -0.8
    assert agreement[place('left/latency'), place('right/latency')] > 0.8
    assert abs(agreement[place('left/latency'), place('left/area')]) < 0.2


def test_pairs_are_counted():
    pairs = [
        PairChange('bad', 'a', 0.9, 0.1, plain=2.0, robust=0.0),
        PairChange('bad', 'b', 0.1, 0.8, plain=1.5, robust=3.0),
        PairChange('a', 'b', 0.5, 0.4, plain=1.2, robust=0.1),
        PairChange('bad', 'c', -0.8, -0.7, plain=0.3, robust=np.nan),
    ]
    plain, robust = faults.Count(), faults.Count()
    plain.add(pairs, 'plain', {'bad'})
    robust.add(pairs, 'robust', {'bad'})
    assert plain.cells(False) == ['1 of 1', '1 of 1', '0.67', '0.50']
    assert robust.cells(False) == ['1 of 1', '1 of 1', '1.00', '0.00']
    assert robust.cells(True) == ['1 of 1', '', '', '']


def test_a_table_from_a_recorded_baseline_and_a_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(faults, 'LEARNED', 200)
    monkeypatch.setattr('tam_ros.faults.agreement.STRETCHES', 4)
    channels, values = faults.simulate(400, np.random.default_rng(1))
    path = tmp_path / 'robot.npz'
    save_baseline(learn_baseline(channels[:6], values[:, :6], 40, 2.0), path)
    faults.main(['--recorded', str(path), '--episodes', '1', '--plot', str(tmp_path / 'a.png')])
    printed = capsys.readouterr().out
    assert 'robot.npz' in printed and '| camera frozen | robust |' in printed
    assert 'clock' not in printed  # the robot has no such channel
    assert Image.open(tmp_path / 'a.png').size == (1040, 840)
    with pytest.raises(ValueError, match='at least 532 needed'):
        save_baseline(learn_baseline(channels, values, 133, 2.0), path)
        next(faults.recorded(path, 1))
