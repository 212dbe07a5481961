# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Windows of statistics, and the baseline that is learned, saved and loaded."""

from __future__ import annotations

import dataclasses
import math
import os

import numpy as np
import pytest

from tam_ros.faults.baseline import (
    Baseline,
    BaselineError,
    learn_baseline,
    load_baseline,
    save_baseline,
)
from tam_ros.faults.windows import MAX_CHANNELS, Windows


def some_windows(count=40, channels=3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, channels))


def test_a_window_has_the_mean_or_the_largest_of_its_values():
    windows = Windows(2.0, kept=10)
    windows.advance(0.0)
    for value in (1.0, 2.0, 6.0):
        windows.add('mean', value)
        windows.add('gap', value, largest=True)
    assert not windows.advance(1.9)
    assert windows.advance(2.0)
    assert windows.channels == ('mean', 'gap')
    np.testing.assert_array_equal(windows.table(('gap', 'mean')), [[6, 3]])


def test_values_that_are_not_finite_are_left_out_and_missing_ones_are_nan():
    windows = Windows(1.0, kept=10)
    windows.advance(0.0)
    windows.add('a', 1.0)
    windows.add('b', math.nan)
    windows.add('c', math.inf)
    windows.advance(1.0)
    assert windows.channels == ('a',)
    np.testing.assert_array_equal(windows.table(('a', 'b')), [[1, np.nan]])


def test_only_the_newest_windows_are_kept_and_a_pause_adds_none():
    windows = Windows(1.0, kept=2)
    windows.advance(0.0)
    for second in (1.0, 2.0, 3.0):
        windows.add('a', second)
        windows.advance(second)
    np.testing.assert_array_equal(windows.table(('a',)), [[2], [3]])
    np.testing.assert_array_equal(windows.table(('a',), newest=1), [[3]])
    assert windows.advance(100.0) == 1
    assert windows.advance(100.5) == 0
    windows.clear()
    assert windows.table(('a',)).shape == (0, 1)


def test_the_number_of_channels_is_limited():
    windows = Windows(1.0, kept=2)
    for index in range(MAX_CHANNELS + 3):
        windows.add(f'{index}', 1.0)
    assert (len(windows.channels), windows.refused_channels) == (MAX_CHANNELS, 3)


def test_channels_that_cannot_be_compared_are_left_out():
    values = some_windows(channels=4)
    values[:, 1] = 7.0
    values[:20, 2] = np.nan
    values[3, 3] = np.nan
    baseline = learn_baseline(('a', 'b', 'c', 'd'), values, recent=10, window_s=2.0)
    assert baseline.channels == ('a', 'd')
    assert baseline.left_out == ('b (constant)', 'c (no value in 50% of the windows)')
    assert baseline.windows.shape == (39, 2)


def test_a_channel_that_is_constant_in_the_complete_windows_is_left_out():
    values = some_windows(channels=3)
    values[:, 2] = 5.0
    values[0] = [np.nan, 0.0, 6.0]
    assert learn_baseline(('a', 'b', 'c'), values, 10, 2.0).channels == ('a', 'b')


@pytest.mark.parametrize(
    ('count', 'channels', 'message'),
    [
        (29, 2, '29 windows are complete, at least 30 are needed: learn for 60 s or longer'),
        (40, 1, '1 of 1 channels can be used, at least 2 are needed'),
        (0, 0, '0 of 0 channels'),
        (0, 2, r'a \(no value in 100% of the windows\)'),
    ],
)
def test_too_little_to_learn_from(count, channels, message):
    with pytest.raises(BaselineError, match=message):
        learn_baseline('ab'[:channels], some_windows(count, channels), 10, 2.0)


@pytest.fixture
def baseline() -> Baseline:
    return learn_baseline(('a', 'b', 'c'), some_windows(), recent=10, window_s=2.0)


def test_a_saved_baseline_is_the_same_and_replaces_the_older_one(baseline, tmp_path):
    path = tmp_path / 'baseline.npz'
    path.write_bytes(b'older')
    save_baseline(baseline, path)
    loaded = load_baseline(path)
    np.testing.assert_array_equal(loaded.windows, baseline.windows)
    assert dataclasses.replace(loaded, windows=baseline.windows) == baseline
    assert [one.name for one in tmp_path.iterdir()] == ['baseline.npz']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'channels': ('a', 'b', 'a')}, 'two of the same name'),
        ({'channels': ('a', 'b')}, r'windows of the shape \(40, 3\)'),
        ({'channels': ('a', 'b', 'x' * 300)}, 'the name of a channel'),
        ({'channels': ('a', 'b', '\x1b[31m')}, 'the name of a channel'),
        ({'window_s': -1.0}, 'windows of -1 s'),
        ({'window_s': math.nan}, 'windows of nan s'),
        ({'recent': 1}, '1 at a time'),
        ({'recent': 20}, '40 windows'),
        ({'windows': np.full((40, 3), np.nan)}, 'not finite'),
        ({'windows': np.full((40, 3), 1e200)}, 'not finite'),
        ({'windows': np.ones((40, 3))}, 'a constant channel'),
        ({'windows': np.ones((40, 3), dtype=np.str_)}, 'windows of the shape'),
        ({'windows': np.array([object()])}, 'cannot be read as a baseline'),
    ],
)
def test_a_file_with_other_content_is_refused(baseline, tmp_path, change, message):
    path = tmp_path / 'baseline.npz'
    save_baseline(dataclasses.replace(baseline, **change), path)
    with pytest.raises(BaselineError, match=message) as error:
        load_baseline(path)
    assert str(path) in str(error.value) and 'learn it again' in str(error.value)


def test_what_is_no_file_of_ours_is_refused(baseline, tmp_path):
    path = tmp_path / 'baseline.npz'
    with pytest.raises(BaselineError, match='does not exist'):
        load_baseline(path)
    save_baseline(baseline, path)
    whole = path.read_bytes()
    for damaged in (b'', b'not a baseline', whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(BaselineError, match='cannot be read as a baseline'):
            load_baseline(path)
    np.savez(path, format=2, channels=['a'], windows=1, recent=1, window_s=1)
    with pytest.raises(BaselineError, match='another format'):
        load_baseline(path)
    np.savez(path, format=1)
    with pytest.raises(BaselineError, match='missing'):
        load_baseline(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BaselineError, match='not a regular file'):
        load_baseline(path)
