# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Access to the EfficientTAM parity kit: deterministic weights, inputs, reference outputs."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT.parent / 'shared' / 'parity' / 'efficienttam'
CONFIGS = [
    f'efficienttam_{size}{variant}'
    for size in ('s', 'ti')
    for variant in ('', '_1', '_2', '_512x512')
]


@lru_cache(maxsize=1)
def fill() -> ModuleType:
    """Load the kit's generator of weights and inputs."""
    spec = importlib.util.spec_from_file_location('parity_fill', KIT / 'fill.py')
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=1)
def spec() -> dict[str, Any]:
    """Return salt, override and scenarios of each configuration."""
    return json.loads((KIT / 'open' / 'spec.json').read_text())


@lru_cache(maxsize=4)
def reference(name: str) -> dict[str, np.ndarray]:
    """Return the reference arrays `reference_<name>.npz`."""
    with np.load(KIT / 'open' / f'reference_{name}.npz') as arrays:
        return {key: arrays[key] for key in arrays.files}


def keys(name: str) -> dict[str, tuple[int, ...]]:
    """Return the official state_dict keys with their shapes."""
    out = {}
    for line in (KIT / f'{name}.keys.txt').read_text().splitlines():
        key, shape, _ = line.split('\t')
        out[key] = tuple(int(n) for n in shape.strip('()').split(',') if n.strip())
    return out


def state_dict(name: str) -> dict[str, np.ndarray]:
    """Return the deterministic weights of a configuration."""
    entry = spec()[name]
    state = {key: fill().weight(key, shape, entry['salt']) for key, shape in keys(name).items()}
    for key, value in entry['override'].items():
        if value is not None:
            state[key] = np.full_like(state[key], value)
    return state


def tensor(name: str, what: str, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Return a deterministic test input."""
    return fill().tensor(what, shape, spec()[name]['salt'], scale)


def sparse(x: np.ndarray, n: int) -> np.ndarray:
    """Subsample the last two axes to n x n, as the kit stores maps."""
    k = x.shape[-1] // n
    return x[..., k // 2 :: k, k // 2 :: k]


def stats(x: np.ndarray) -> np.ndarray:
    """Return mean, unbiased deviation and sum of magnitudes, as the kit stores them."""
    x = np.asarray(x, np.float64)
    return np.array([x.mean(), x.std(ddof=1), np.abs(x).sum()])


def deviation(ours: np.ndarray, reference: np.ndarray) -> float:
    """Return max|difference| / std(reference)."""
    ours, reference = np.asarray(ours), np.asarray(reference)
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    scale = reference.std() if reference.size > 1 else np.abs(reference).max()
    return float(np.abs(ours - reference).max() / max(scale, 1e-12))
