# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The statistics of DAVIS over the frames of one object, as in davis2017-evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def recall(values: Sequence[float]) -> float:
    """Return the fraction of frames with a value above 0.5."""
    return float(np.mean(np.asarray(values) > 0.5))


def decay(values: Sequence[float]) -> float:
    """Return the mean of the first quarter minus that of the last quarter."""
    first, last = _edges(len(values))[:2], _edges(len(values))[-2:]
    return _mean_between(values, *first) - _mean_between(values, *last)


def last_quarter(values: Sequence[float]) -> float:
    """Return the mean of the last quarter of the frames, as in `decay`."""
    return _mean_between(values, *_edges(len(values))[-2:])


def _edges(count: int) -> list[int]:
    """Return the five edges of the quarters; a frame on an edge belongs to both quarters."""
    if not count:
        raise ValueError('there is no frame')
    # The small offset rounds halves up, where numpy would round them to even. The reference code
    # stores the edges in eight bits, which is wrong beyond 256 frames and not reproduced here.
    return (np.round(np.linspace(1, count, 5) + 1e-10).astype(int) - 1).tolist()


def _mean_between(values: Sequence[float], begin: int, end: int) -> float:
    return float(np.mean(values[begin : end + 1]))
