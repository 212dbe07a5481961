"""Axial rotary position encoding in real arithmetic.

The official code multiplies complex numbers, which no ONNX exporter knows, and rotation matrices
are nine times slower on an Orin (design notes on TensorRT); two tables and four products do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tam_ros.models.layers import sizes


def rope_tables(dim: int, grid: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Compute the rotation of every position of a grid x grid map, row-major.

    The first half of the channel pairs turns with x, the second with y.

    Returns:
        cosine and sine, each [grid * grid, dim / 2].
    """
    frequency = 1.0 / theta ** (torch.arange(0, dim, 4)[: dim // 4].float() / dim)
    position = torch.arange(grid * grid)
    x = (position % grid).float()
    y = torch.div(position, grid, rounding_mode='floor').float()
    angle = torch.cat((torch.outer(x, frequency), torch.outer(y, frequency)), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the channel pairs (2i, 2i+1) of x [B, N, D] by tables [N, D / 2]."""
    tokens, channels = sizes(x)[1:]
    pairs = x.reshape(-1, tokens, channels // 2, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return turned.reshape(-1, tokens, channels)
