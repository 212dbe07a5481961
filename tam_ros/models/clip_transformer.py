# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The transformer of both towers of CLIP (arXiv 2103.00020).

B sequences of T tokens of W numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.models.layers import attend, sizes


class QuickGELU(nn.Module):
    """CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to every element."""
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention, with the parameter names of `torch.nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]; the bias is added to the logits [B, heads, T, T]."""
        tokens, width = sizes(x)[1:]
        qkv = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.reshape(-1, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return self.out_proj(attend(q, k, v, bias).transpose(1, 2).reshape(-1, tokens, width))

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project x [B, T, W] to keys and values, both after the output projection.

        The values are what every token would get if it attended to itself only. MaskCLIP's
        repository sends the keys through the output projection too, and so do we: its results
        with key smoothing were made with them.
        """
        width = sizes(x)[-1]
        kv = functional.linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:])
        k, v = kv.split(width, dim=-1)
        return self.out_proj(k), self.out_proj(v)


class FeedForward(nn.Module):
    """The two layers of a block."""

    def __init__(self, width: int, official: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.activation = nn.GELU() if official else QuickGELU()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] to [..., W]."""
        return self.c_proj(self.activation(self.c_fc(x)))


class Block(nn.Module):
    """Transformer block with norms before its parts."""

    def __init__(self, width: int, heads: int, official: bool) -> None:
        super().__init__()
        eps = 1e-6 if official else 1e-5
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.mlp = FeedForward(width, official)
        self.ln_2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]; the bias as for `Attention`."""
        x = x + self.attn(self.ln_1(x), bias)
        return x + self.mlp(self.ln_2(x))

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys, and the block's result if every token attends to itself; [B, T, W] each."""
        keys, values = self.attn.keys_and_values(self.ln_1(x))
        x = x + values
        return keys, x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks, named as in the checkpoints."""

    def __init__(self, width: int, heads: int, layers: int, official: bool = False) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, official) for _ in range(layers))
