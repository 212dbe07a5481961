# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Comparison of runtimes: agreement of their masks, and their times."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark import agreement, families, runtimes
from tam_ros.model_files import TRACKER_GRAPHS

NAME = 'efficienttam_nano'


class Tracker:
    """Returns given masks, frame by frame."""

    def __init__(self, *frames):
        self._frames = frames

    def reset(self):
        self._left = list(self._frames)
        self.given = []

    def step(self, image, stamp, prompts):
        self.given.append((stamp, prompts))
        return SimpleNamespace(objects=[SimpleNamespace(mask=mask) for mask in self._left.pop(0)])


def test_every_mask_is_compared_with_that_of_the_first():
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    half, none = mask.copy(), np.zeros((4, 4), bool)
    half[1] = False
    first = Tracker([mask, none], [mask])
    same = Tracker([mask, none], [mask])
    other = Tracker([half, none], [none])
    together = agreement.Together([first, same, other])
    for _ in range(2):  # a reset discards the first result
        together.reset()
        frames = [together.step(None, stamp, ['prompt']) for stamp in (0.0, 0.1)]
        assert together.ious == [[1.0, 1.0, 1.0], [0.5, 1.0, 0.0]]
    assert [len(frame.objects) for frame in frames] == [2, 1]
    assert first.given == other.given == [(0.0, ['prompt']), (0.1, ['prompt'])]
    assert agreement.cell([1.0, 0.5, 0.9]) == '0.8000 (0.500)'


def test_ratios_are_those_to_the_first_runtime():
    rows = runtimes.rows_of(
        'model', {'slow:fp32': np.array([0.2, 0.4]), 'fast': np.array([0.1, 0.2])}
    )
    assert rows == [
        ['`model`', 'slow fp32', '200.0', '400.0', '600.0'],
        ['`model`', 'fast', '100.0 (2.00)', '200.0 (2.00)', '300.0 (2.00)'],
    ]


@pytest.mark.slow
def test_runtimes_take_turns_on_the_same_work(tmp_path, monkeypatch):
    pytest.importorskip('torch', reason='exporting needs torch')
    if find_spec('openvino') is None:
        pytest.skip('openvino is not installed')
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    times = runtimes.measure(NAME, ['onnxruntime:fp32', 'openvino:fp32'], 2, 1, 2)
    assert list(times) == ['onnxruntime:fp32', 'openvino:fp32']
    for seconds in times.values():
        assert seconds.shape == (len(TRACKER_GRAPHS),) and np.isfinite(seconds).all()
        assert (seconds > 0).all()


def test_work_of_a_tracked_frame():
    pytest.importorskip('torch')
    one, three = (families.work(NAME, objects) for objects in (1, 3))
    # The image encoder runs once, and the other graphs for every object.
    assert 1 < one < three < 3 * one
