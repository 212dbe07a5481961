# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Access to the parity kit of the systems around the tracker: detectors, suppression."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

KIT = Path(__file__).resolve().parents[2] / 'shared' / 'parity' / 'others'


def arrays(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file of the kit; skips the test where there is no kit."""
    path = KIT / f'{name}.npz'
    if not path.exists():
        pytest.skip(f'{path} is not on this machine')
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files}


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the keys and shapes of an official state_dict; skips the test without a kit."""
    path = KIT / f'{name}_state_dict_shapes.json'
    if not path.exists():
        pytest.skip(f'{path} is not on this machine')
    return {key: tuple(shape) for key, shape in json.loads(path.read_text()).items()}


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weight that the kit's outputs were computed with; its README has the rules."""
    if key.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    normal = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(
        int(np.prod(shape))
    ).reshape(shape)  # fmt: skip
    if key.endswith('running_var'):
        value = 1 + 0.1 * np.abs(normal)
    elif key.endswith(('running_mean', 'bias')):
        value = 0.1 * normal
    elif len(shape) == 1:
        value = 1 + 0.1 * normal
    else:
        value = normal / np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float32)
