# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on arrays of features.

Resampling along one axis is a matrix, in the convention of PyTorch's `align_corners=False`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_CUBIC = -0.75  # the parameter of PyTorch's and OpenCV's bicubic interpolation


@lru_cache(maxsize=64)
def linear(outputs: int, inputs: int) -> Floats:
    """Return the weights [outputs, inputs] of linear interpolation."""
    at = (np.arange(outputs) + 0.5) * (inputs / outputs) - 0.5
    at = at.clip(0, None)
    first = np.floor(at).astype(np.intp).clip(0, inputs - 1)
    part = at - first
    weights = np.zeros((outputs, inputs), np.float64)
    rows = np.arange(outputs)
    np.add.at(weights, (rows, first), 1 - part)
    np.add.at(weights, (rows, (first + 1).clip(0, inputs - 1)), part)
    return _constant(weights)


@lru_cache(maxsize=64)
def cubic(outputs: int, inputs: int) -> Floats:
    """Return the weights [outputs, inputs] of cubic interpolation; edges are repeated."""
    at = (np.arange(outputs) + 0.5) * (inputs / outputs) - 0.5
    first = np.floor(at).astype(np.intp)
    weights = np.zeros((outputs, inputs), np.float64)
    for tap in (-1, 0, 1, 2):
        distance = np.abs(at - (first + tap))
        near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
        far = _CUBIC * (((distance - 5) * distance + 8) * distance - 4)
        column = (first + tap).clip(0, inputs - 1)
        np.add.at(weights, (np.arange(outputs), column), np.where(distance <= 1, near, far))
    return _constant(weights)


def unit(vectors: Floats) -> Floats:
    """Scale the vectors on the last axis to length 1; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)


def _constant(weights: NDArray[np.float64]) -> Floats:
    single = weights.astype(np.float32)
    single.flags.writeable = False
    return single
