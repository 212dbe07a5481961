# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What DAVIS makes of the values of one object over time; as in davis2017-evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def recall(values: Sequence[float]) -> float:
    """Return the share of frames with a value above one half."""
    return float(np.mean(np.asarray(values) > 0.5))


def decay(values: Sequence[float]) -> float:
    """Return how much is lost on the way: mean of the first quarter less that of the last."""
    first, last = _edges(len(values))[:2], _edges(len(values))[-2:]
    return _mean_between(values, *first) - _mean_between(values, *last)


def last_quarter(values: Sequence[float]) -> float:
    """Return the mean of the last quarter, the frames that `decay` takes for it."""
    return _mean_between(values, *_edges(len(values))[-2:])


def _edges(count: int) -> list[int]:
    """Return the indices between quarters; a frame on an edge belongs to both sides."""
    if not count:
        raise ValueError('no frame to take a quarter of')
    # The small number rounds halves up, where numpy would round them to even. The code of record
    # keeps the edges in eight bits and is wrong beyond 256 frames; that is not followed.
    return (np.round(np.linspace(1, count, 5) + 1e-10).astype(int) - 1).tolist()


def _mean_between(values: Sequence[float], begin: int, end: int) -> float:
    return float(np.mean(values[begin : end + 1]))
