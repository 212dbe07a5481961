# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Small layers shared by all networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.models.config import ATTENTION_MODES


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of [B, C, H, W]."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] at every position."""
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(1, keepdim=True)
        x = centred / torch.sqrt(variance + self.eps)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class MLP(nn.Module):
    """Linear layers with an activation between them, named `layers.N` as in the checkpoints."""

    def __init__(self, dims: tuple[int, ...], activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(i, o) for i, o in zip(dims[:-1], dims[1:], strict=True)
        )
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., dims[0]] to [..., dims[-1]]."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def sizes(x: Tensor) -> list[int]:
    """Return the shape as plain numbers, which tracing writes into the graph as constants.

    Do not use the batch dimension of it, which may vary: write -1 in a reshape instead.
    """
    return [int(size) for size in x.shape]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q: queries [B, heads, Nq, D]; B may be 1 and is broadcast then.
        k: keys [B, heads, Nk, D].
        v: values [B, heads, Nk, D].
        bias: added to the logits, broadcast to [B, heads, Nq, Nk]; -1e4 hides a key.

    Returns:
        [B, heads, Nq, D].
    """
    if not torch.onnx.is_in_onnx_export():
        if q.shape[0] != k.shape[0]:
            q = q.expand(k.shape[0], -1, -1, -1)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # The pattern that TensorRT fuses: the scale split over q and k, before the first product.
    scale = 1.0 / math.sqrt(math.sqrt(sizes(q)[-1]))
    logits = (q * scale) @ (k * scale).transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return logits.softmax(-1) @ v


def dynamic_attention(q: Tensor, k: Tensor, v: Tensor, mode: str = 'softmax') -> Tensor:
    """Attention as two dynamic 1x1 convolutions ("Vision Transformers as dynamic convolutions").

    The keys are the Nk filters of a 1x1 convolution over the map of queries, and the values are
    the filters of a second one over its result (arXiv 2309.10713). Between two convolutions there
    may be another function than softmax. The abstract does not say how the sum over keys is scaled
    with ReLU; here it is not.

    Args:
        q: queries [..., Nq, D].
        k: keys [..., Nk, D].
        v: values [..., Nk, D].
        mode: one of `ATTENTION_MODES`, the function between the convolutions: softmax, ReLU, or
            ReLU and then layer normalisation over the keys, without weights.

    Returns:
        [..., Nq, D].
    """
    if mode == 'softmax':
        return attend(q, k, v)
    if mode not in ATTENTION_MODES:
        raise ValueError(f'mode is {mode!r}; one of {", ".join(ATTENTION_MODES)}')
    scale = 1.0 / math.sqrt(math.sqrt(sizes(q)[-1]))
    response = functional.relu((q * scale) @ (k * scale).transpose(-2, -1))
    if mode == 'relu_layer_norm':
        # Written out: the operator of ONNX needs weights as large as the number of keys.
        response = response - response.mean(-1, keepdim=True)
        variance = (response * response).mean(-1, keepdim=True)
        response = response / torch.sqrt(variance + 1e-5)
    return response @ v


def by_row(axis: Tensor) -> Tensor:
    """Repeat the values of each row for every token of a G x G map: [G, C] to [G * G, C]."""
    grid, channels = sizes(axis)
    return (axis[:, None] + axis.new_zeros(1, grid, 1)).reshape(grid * grid, channels)


def by_column(axis: Tensor) -> Tensor:
    """Repeat the values of each column for every token of a G x G map: [G, C] to [G * G, C]."""
    grid, channels = sizes(axis)
    return (axis[None] + axis.new_zeros(grid, 1, 1)).reshape(grid * grid, channels)


def prepend_rows(count: int, value: float, rows: Tensor) -> Tensor:
    """Prepend `count` rows filled with `value` to rows [N, C]: [count + N, C]."""
    if not count:
        return rows
    return torch.cat((rows.new_full((count, 1), value) + 0 * rows[:1], rows))


class SinePosition(nn.Module):
    """Sine position map of DETR as SAM 2 uses it.

    Positions 1..n are scaled to 2 pi, the temperature is 10000. Only one axis is stored: the map
    is 32 times as large and would be part of the exported graphs. `global_tokens` without a
    position come before those of the map; their encoding is zero.
    """

    axis: Tensor

    def __init__(self, channels: int, grid: int, global_tokens: int = 0) -> None:
        super().__init__()
        self.global_tokens = global_tokens
        half = channels // 2
        position = torch.arange(1, grid + 1, dtype=torch.float32) / (grid + 1e-6) * (2 * math.pi)
        index = torch.arange(half, dtype=torch.float32)
        period = 10000.0 ** (2 * torch.div(index, 2, rounding_mode='floor') / half)
        angle = position[:, None] / period
        axis = torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)
        self.register_buffer('axis', axis, persistent=False)

    def forward(self) -> Tensor:
        """Return the encoding of every token, y before x: [global_tokens + grid^2, channels]."""
        positions = torch.cat((by_row(self.axis), by_column(self.axis)), dim=1)
        return prepend_rows(self.global_tokens, 0.0, positions)
