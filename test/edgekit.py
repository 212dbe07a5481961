# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Access to the EdgeTAM parity kit: deterministic weights, inputs, reference outputs."""

from __future__ import annotations

import importlib.util
import io
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT.parent / 'shared' / 'parity' / 'edgetam'


@lru_cache(maxsize=2)
def module(name: str) -> ModuleType:
    """Load `fill` or `inputs` of the kit."""
    spec = importlib.util.spec_from_file_location(f'edgetam_{name}', KIT / f'{name}.py')
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def about() -> dict:
    """Return the salt, prompts and sizes of the kit."""
    return module('inputs').KITS['open']


@lru_cache(maxsize=1)
def reference() -> dict[str, np.ndarray]:
    """Return the reference arrays."""
    with np.load(KIT / 'reference_edgetam.npz') as arrays:
        return {key: arrays[key] for key in arrays.files}


def keys() -> dict[str, tuple[int, ...]]:
    """Return the official state_dict keys with their shapes."""
    return {key: shape for key, shape, _ in module('fill').load_keys(KIT / 'edgetam.keys.txt')}


def state_dict(absent: bool = False) -> dict[str, np.ndarray]:
    """Return the deterministic weights; with `absent`, those that find no object."""
    value, salt = module('fill').value, about()['salt']
    state = {key: value(key, shape, salt) for key, shape in keys().items()}
    if absent:
        state['sam_mask_decoder.pred_obj_score_head.layers.2.bias'][:] = -30
    return state


def tensor(what: str, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Return a deterministic test input."""
    return module('fill').det(what, shape, about()['salt'], scale)


def frames() -> list[np.ndarray]:
    """Return the drawn frames, uint8 [240, 320, 3]."""
    return module('inputs').frames('open')


def real_frames(count: int) -> list[np.ndarray]:
    """Return the first real frames, uint8 [180, 320, 3]."""
    from PIL import Image

    with np.load(KIT / 'real_frames_open.npz') as arrays:
        return [
            np.asarray(Image.open(io.BytesIO(arrays[f'f{index:02}'].tobytes())).convert('RGB'))
            for index in range(count)
        ]


def deviation(ours: np.ndarray, name: str) -> float:
    """Return the largest difference from an array of the kit, relative to its largest value.

    Of large arrays the kit has a sample, the shape, and sums over the whole array, which are
    compared as well.
    """
    arrays, fill = reference(), module('fill')
    ours, expected = np.asarray(ours), arrays[name]
    largest = np.abs(expected).max()
    if f'{name}/shape' not in arrays:
        assert ours.shape == expected.shape, (ours.shape, expected.shape)
        return float(np.abs(ours - expected).max() / largest)
    assert ours.shape == tuple(arrays[f'{name}/shape']), (ours.shape, arrays[f'{name}/shape'])
    _, total, squares, *ends = arrays[f'{name}/stats']
    _, our_total, our_squares, *our_ends = fill.stats(ours)
    largest = max(largest, *np.abs(ends))
    return float(
        max(
            np.abs(fill.probe(ours, expected.size) - expected).max() / largest,
            np.abs(np.subtract(our_ends, ends)).max() / largest,
            abs(our_total / total - 1),
            abs(our_squares / squares - 1),
        )
    )
