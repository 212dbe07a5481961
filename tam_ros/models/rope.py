# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Axial rotary position encoding in real arithmetic.

The official code multiplies complex numbers, which ONNX does not have. Rotation matrices were nine
times slower on a Jetson Orin than the two tables and four products used here. The official code
pairs neighbouring channels; here the projections are permuted once so that the pairs lie in two
contiguous halves, since strided access to the channels costs more than the products.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tam_ros.models.layers import by_column, by_row, prepend_rows, sizes


class AxialRotation(nn.Module):
    """The rotation of every token of a grid x grid map.

    The first half of the channel pairs is rotated in proportion to x, the second to y; the
    frequencies of both are 1 / theta^(4i / dim). Only one axis is stored, see
    `layers.SinePosition`. Tokens without a position come first and are not rotated.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(
        self, dim: int, grid: int, global_tokens: int = 0, theta: float = 10000.0
    ) -> None:
        super().__init__()
        self.global_tokens = global_tokens
        frequency = 1.0 / theta ** (torch.arange(0, dim, 4)[: dim // 4].float() / dim)
        angle = torch.outer(torch.arange(grid).float(), frequency)
        self.register_buffer('cosine', angle.cos(), persistent=False)
        self.register_buffer('sine', angle.sin(), persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return cosine and sine, each [global_tokens + grid * grid, dim / 2]."""
        cosine, sine = (
            torch.cat((by_column(axis), by_row(axis)), dim=1) for axis in (self.cosine, self.sine)
        )
        return prepend_rows(self.global_tokens, 1.0, cosine), prepend_rows(
            self.global_tokens, 0.0, sine
        )


def deinterleave_projection(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a projection with its even output channels before the odd ones.

    The pairs of the rotation then lie in two contiguous halves. The product of queries and keys
    does not depend on the order of channels as long as it is the same for both.
    """
    half = layer.out_features // 2
    weight = layer.weight.reshape(half, 2, layer.in_features).transpose(0, 1)
    bias = layer.bias.reshape(half, 2).transpose(0, 1)
    return weight.reshape(2 * half, layer.in_features), bias.reshape(2 * half)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the channel pairs (i, i + D / 2) of x [B, N, D] by tables [N, D / 2].

    They are the pairs (2i, 2i + 1) of the official code, see `deinterleave_projection`.
    """
    even, odd = x.split(sizes(x)[-1] // 2, dim=-1)
    return torch.cat((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
