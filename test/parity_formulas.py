# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Deterministic weights and inputs of the parity fixture; see `parity_fixture/README.md`.

Every number follows from a name and a salt, so the weights need not be stored. `WEIGHTS` lists
for each family how a parameter is scaled: the first row whose pattern is found in its name counts.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = tuple[int, ...]

FOLDER = Path(__file__).resolve().parent / 'parity_fixture'
EMBEDDINGS = (
    r'(point_embeddings\.\d|not_a_point_embed|no_mask_embed|iou_token|mask_tokens|obj_score_token)'
    r'\.weight$'
)
FAN_IN = 'fan in'  # mean 0; the scale is divided by the square root of the inputs of one output
VECTOR = 'vector'  # only for parameters with one axis

# Pattern, mean, scale, and for which parameters.
WEIGHTS: dict[str, list[tuple[str, float, float, str]]] = {
    'efficienttam': [
        (r'pred_obj_score_head\.layers\.2\.bias$', 2.77, 0.0, ''),
        (r'\.gamma$', 0.5, 0.1, ''),
        (r'bias$', 0.0, 0.1, ''),
        (r'weight$', 1.0, 0.1, VECTOR),
        (r'gaussian_matrix$', 0.0, 1.0, ''),
        (r'maskmem_tpos_enc$', 0.0, 0.7, ''),
        (r'(pos_embed|no_mem_embed|no_mem_pos_enc|no_obj_ptr)$', 0.0, 0.5, ''),
        (EMBEDDINGS, 0.0, 0.7, ''),
        (r'\.(q_proj|k_proj|qkv)\.', 0.0, 1.7, FAN_IN),
        (r'pred_obj_score_head\.layers\.2\.weight$', 0.0, 4.0, FAN_IN),
        (r'^mask_downsample\.', 0.0, 3.0, FAN_IN),
        (r'', 0.0, 1.2, FAN_IN),
    ],
    'edgetam': [
        (r'running_mean$', 0.0, 0.1, ''),
        (r'gaussian_matrix$', 0.0, 1.0, ''),
        (r'gamma$', 0.5, 0.1, ''),
        (r'(token_mixer\.conv1?|(channel_mixer|ffn)\.conv2)\.bn\.weight$', 0.35, 0.035, ''),
        (r'se\.fc2\.bias$', 1.5, 0.5, ''),
        (r'pred_obj_score_head\.layers\.2\.bias$', 4.0, 0.0, ''),
        (r'latents(_2d)?$', 0.0, 1.0, ''),
        (r'(maskmem_tpos_enc|no_mem_embed|no_mem_pos_enc|no_obj_ptr)$', 0.0, 0.4, ''),
        (EMBEDDINGS, 0.0, 0.7, ''),
        (r'weight$', 1.0, 0.1, VECTOR),
        (r'bias$', 0.0, 0.1, VECTOR),
        (r'(q_proj|k_proj|to_q)\.weight$', 0.0, 1.6, FAN_IN),
        (r'', 0.0, 1.0, FAN_IN),
    ],
}


def hashed_uniform(tag: str, shape: Shape) -> NDArray[np.float64]:
    """Return numbers of zero mean and unit variance from SplitMix64, seeded by a text."""
    seed = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8], 'little')
    with np.errstate(over='ignore'):
        x = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64(seed)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    unit = (x >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1
    return (unit * math.sqrt(3)).reshape(shape)


def seeded(tag: str) -> np.random.Generator:
    """Return numpy's PCG64 generator, seeded by a text."""
    seed = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8], 'little')
    return np.random.Generator(np.random.PCG64(seed))


def weight(family: str, key: str, shape: Shape, salt: str) -> NDArray[np.generic]:
    """Return one entry of a state_dict."""
    if key.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    if key.endswith('running_var'):
        return (0.6 + 0.8 * seeded(f'{key}|{salt}').random(shape)).astype(np.float32)
    mean, scale, kind = next(
        row[1:]
        for row in WEIGHTS[family]
        if re.search(row[0], key) and (row[3] != VECTOR or len(shape) == 1)
    )
    if kind == FAN_IN:
        inputs = shape[0] if 'output_upscaling' in key else math.prod(shape[1:])
        if family == 'edgetam' and inputs == 1:
            scale = 0.8
        scale /= math.sqrt(inputs)
    if family == 'edgetam':
        noise = seeded(f'{key}|{salt}').standard_normal(shape)
    else:
        noise = hashed_uniform(f'{salt}|{key}', shape)
    return (mean + scale * noise).astype(np.float32)


def state_dict(family: str, shapes: Mapping[str, Shape], salt: str) -> dict[str, NDArray]:
    """Return all weights of a network, given the shapes of its state_dict."""
    return {key: weight(family, key, shape, salt) for key, shape in shapes.items()}


def tensor(family: str, name: str, shape: Shape, salt: str, scale: float = 1.0) -> Floats:
    """Return a test input of zero mean and this standard deviation."""
    if family == 'edgetam':
        return (seeded(f'{name}|{salt}').standard_normal(shape) * scale).astype(np.float32)
    return (hashed_uniform(f'{salt}|input|{name}', shape) * scale).astype(np.float32)
