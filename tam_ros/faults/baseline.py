# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The baseline: windows that were recorded while all was well, learned, saved and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tam_ros.faults.windows import MAX_CHANNELS
from tam_ros.new_output import NewOutput
from tam_ros.reading import InputError, reading
from tam_ros.regular_file import open_regular

FORMAT = 1
MAX_WINDOWS = 20_000
MAX_NAME = 200
_MAX_BYTES = 8 * MAX_CHANNELS * MAX_WINDOWS + (1 << 20)
_LEAST_SHARE = 0.8  # of the windows, in which a channel has to have a value
_LEAST_STRETCHES = 3  # a baseline is at least so many times as long as what is compared with it


class BaselineError(InputError, ValueError):
    """A baseline cannot be learned or read; the message says why and what to do."""


@dataclass(frozen=True)
class Baseline:
    """Windows while all was well.

    Attributes:
        channels: names of the columns.
        windows: float64 [n, channels], all finite; no column is constant.
        recent: how many windows are compared with it at a time.
        window_s: length of a window, seconds.
        left_out: channels that could not be used, each with the reason; empty for a loaded one.
    """

    channels: tuple[str, ...]
    windows: NDArray[np.float64]
    recent: int
    window_s: float
    left_out: tuple[str, ...] = ()


def learn_baseline(
    channels: Sequence[str], windows: NDArray[np.float64], recent: int, window_s: float
) -> Baseline:
    """Make a baseline of windows; channels that are constant or often absent are left out.

    Args:
        channels: names of the columns.
        windows: float64 [n, channels]; NaN: no value.
        recent: how many windows will be compared with it at a time.
        window_s: length of a window, seconds.

    Raises:
        BaselineError: there are too few windows or channels; the message says how many.
    """
    share = np.isfinite(windows).mean(axis=0) if len(windows) else np.zeros(len(channels))
    left_out, columns = [], []
    for column, name in enumerate(channels):
        values = windows[:, column][np.isfinite(windows[:, column])]
        if share[column] < _LEAST_SHARE:
            left_out.append(f'{name} (no value in {1 - share[column]:.0%} of the windows)')
        elif _is_constant(values):
            left_out.append(f'{name} (constant)')
        else:
            columns.append(column)
    used = windows[:, columns]
    used = used[np.isfinite(used).all(axis=1)]
    # Without the windows in which others had no value, a channel may be constant after all.
    varying = [index for index in range(len(columns)) if not _is_constant(used[:, index])]
    names = tuple(channels[columns[index]] for index in varying)
    if len(names) < 2:
        reasons = f': {", ".join(left_out)}' if left_out else ''
        raise BaselineError(
            f'{len(names)} of {len(channels)} channels can be used, at least 2 are needed{reasons}'
        )
    least = _LEAST_STRETCHES * recent
    if len(used) < least:
        raise BaselineError(
            f'{len(used)} windows are complete, at least {least} are needed: learn for '
            f'{least * window_s:.0f} s or longer'
        )
    return Baseline(names, used[-MAX_WINDOWS:, varying], recent, window_s, tuple(left_out))


def _is_constant(values: NDArray[Any]) -> bool:
    return not len(values) or bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline as .npz, replacing an older one in one step.

    Raises:
        OutputError: it cannot be written; the message gives the path and the reason.
    """
    with NewOutput(path, replace=True) as output:
        with output.partial.open('wb') as file:
            np.savez_compressed(
                file,
                format=np.int64(FORMAT),
                channels=np.array(baseline.channels, dtype=np.str_),
                windows=baseline.windows,
                recent=np.int64(baseline.recent),
                window_s=np.float64(baseline.window_s),
            )
        output.publish()


def load_baseline(path: Path) -> Baseline:
    """Read a baseline that `save_baseline` wrote, and check all of it.

    Raises:
        BaselineError: it cannot be read, or is not a baseline; the message gives the path.
    """
    advice = 'learn it again'
    with reading(path, BaselineError, 'a baseline', advice=advice):
        with open_regular(path, _MAX_BYTES) as file, np.load(file, allow_pickle=False) as arrays:
            form, channels, windows, recent, window_s = (
                arrays[name] for name in ('format', 'channels', 'windows', 'recent', 'window_s')
            )
        if form.shape or int(form) != FORMAT:
            raise BaselineError(f'{path} has another format than {FORMAT}; {advice}')
        names = tuple(str(name) for name in channels.tolist())
        problem = _problem(names, windows, int(recent), float(window_s))
        if problem:
            raise BaselineError(f'{path} is no baseline: {problem}; {advice}')
        return Baseline(names, windows.astype(np.float64), int(recent), float(window_s))


def _problem(names: tuple[str, ...], windows: NDArray[Any], recent: int, window_s: float) -> str:
    """Return what is wrong with the content of a file, or an empty text."""
    if not 2 <= len(names) <= MAX_CHANNELS or len(set(names)) != len(names):
        return f'{len(names)} channels, or two of the same name'
    if not all(name and len(name) <= MAX_NAME and name.isprintable() for name in names):
        return 'the name of a channel is empty, too long or not printable'
    if not (0 < window_s < 1e6 and 2 <= recent <= MAX_WINDOWS // _LEAST_STRETCHES):
        return f'windows of {window_s:g} s, {recent} at a time'
    if windows.ndim != 2 or windows.shape[1] != len(names) or windows.dtype.kind != 'f':
        return f'windows of the shape {windows.shape}'
    if not _LEAST_STRETCHES * recent <= len(windows) <= MAX_WINDOWS:
        return f'{len(windows)} windows'
    if not np.isfinite(windows).all() or np.abs(windows).max() > 1e100:
        return 'numbers that are not finite'
    if any(_is_constant(windows[:, column]) for column in range(len(names))):
        return 'a constant channel'
    return ''
