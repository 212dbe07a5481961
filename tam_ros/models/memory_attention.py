# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Memory attention: the current features attend to the memory bank.

Layers of self-attention, cross-attention to the memories and object pointers, and a feed-forward
network (SAM 2, arXiv 2408.00714), with EfficientTAM's pooled cross-attention (arXiv 2411.18933,
section 3.3) as an option. Memories may differ in size from the features, and have a rotary
encoding of their own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.models.config import ModelConfig
from tam_ros.models.layers import attend, sizes
from tam_ros.models.rope import AxialRotation, deinterleave_projection, rotate

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine tables [tokens, C / 2]."""

# A pooled key replaces the 2x2 keys of its window; ln 4 on its logit gives it their weight.
POOL_OFFSET = 2.0 * math.log(2.0)


class MemoryTokens(NamedTuple):
    """Keys, values and biases of the memory bank.

    Attributes:
        spatial_keys: memories with their positions added [B, S, N, M].
        spatial_values: memories [B, S, N, M].
        spatial_bias: added to the attention logits of a slot [B, S]: 0, or -1e4 for an empty one.
        pointer_keys: object pointer tokens with their positions, if any [B, T, M].
        pointer_values: object pointer tokens [B, T, M].
        pointer_bias: as `spatial_bias`, for each pointer token [B, T].
    """

    spatial_keys: Tensor
    spatial_values: Tensor
    spatial_bias: Tensor
    pointer_keys: Tensor
    pointer_values: Tensor
    pointer_bias: Tensor


class Projections(nn.Module):
    """The four linear maps of a one-headed attention, named as in the checkpoints."""

    def __init__(self, dim: int, key_dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(key_dim, dim)
        self.v_proj = nn.Linear(key_dim, dim)
        self.out_proj = nn.Linear(dim, dim)


class RotarySelfAttention(Projections):
    """Self-attention over the feature map with rotary positions."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        q = rotate(functional.linear(x, *deinterleave_projection(self.q_proj)), *rotation)[:, None]
        k = rotate(functional.linear(x, *deinterleave_projection(self.k_proj)), *rotation)[:, None]
        return self.out_proj(attend(q, k, self.v_proj(x)[:, None])[:, 0])


class MemoryCrossAttention(Projections):
    """Attention from the feature map to spatial memories and object pointers.

    Spatial keys are rotated by their position in their own frame; pointers have no position.
    """

    def __init__(self, dim: int, memory_dim: int, grid: int, key_offset: bool) -> None:
        super().__init__(dim, memory_dim)
        self.grid = grid
        self.key_offset = key_offset

    def forward(
        self,
        x: Tensor,
        memory: MemoryTokens,
        rotation: Rotation,
        memory_rotation: Rotation,
        pooled: bool,
    ) -> Tensor:
        """Attend from x [B, N, C] (B may be 1) to the memory; returns [B, N, C].

        Args:
            x: the queries, normalised.
            memory: keys, values and biases, see `MemoryTokens`.
            rotation: rotation of the queries.
            memory_rotation: rotation of the keys of each memory.
            pooled: average the rotated keys and the values over 2x2 windows.
        """
        q = rotate(functional.linear(x, *deinterleave_projection(self.q_proj)), *rotation)
        slots, tokens, memory_dim = sizes(memory.spatial_keys)[1:]
        channels = sizes(x)[-1]
        frames = (-1, tokens, memory_dim)
        to_key = deinterleave_projection(self.k_proj)
        k = functional.linear(memory.spatial_keys.reshape(frames), *to_key)
        k = rotate(k, *memory_rotation)
        v = memory.spatial_values.reshape(frames)
        bias = memory.spatial_bias  # [B, S]
        if pooled:
            # The projection of a mean is the mean of the projections, so values are averaged
            # before it. Keys cannot be: the rotation is between projection and mean.
            k, v = self._pool(k), self._pool(v)
            tokens //= 4
            if self.key_offset:
                # The official `_2` models were trained with the offset on every component of the
                # key instead of on the logit.
                k = k + POOL_OFFSET
            else:
                bias = bias + POOL_OFFSET
        bias = (bias[:, :, None] + bias.new_zeros(tokens)).reshape(-1, slots * tokens)
        k = torch.cat(
            (
                k.reshape(-1, slots * tokens, channels),
                functional.linear(memory.pointer_keys, *to_key),
            ),
            dim=1,
        )
        v = self.v_proj(
            torch.cat((v.reshape(-1, slots * tokens, memory_dim), memory.pointer_values), dim=1)
        )
        bias = torch.cat((bias, memory.pointer_bias), dim=1)[:, None, None]
        return self.out_proj(attend(q[:, None], k[:, None], v[:, None], bias)[:, 0])

    def _pool(self, x: Tensor) -> Tensor:
        """Average maps [L, N, C] over 2x2 windows: [L, N / 4, C]."""
        tokens, channels = sizes(x)[1:]
        half = self.grid // 2
        # Sums of contiguous parts, because a mean over two inner axes is slow in some backends.
        upper, lower = x.reshape(-1, half, 2, half, 2 * channels).unbind(2)
        left, right = (upper + lower).split(channels, dim=-1)
        return (0.25 * (left + right)).reshape(-1, tokens // 4, channels)


class MemoryAttentionLayer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.self_attn = RotarySelfAttention(dim)
        self.cross_attn_image = MemoryCrossAttention(
            dim,
            config.memory_dim,
            config.memory_grid,
            config.cross_attention == 'pooled_key_offset',
        )
        self.linear1 = nn.Linear(dim, config.memory_mlp_dim)
        self.linear2 = nn.Linear(config.memory_mlp_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        memory: MemoryTokens,
        rotation: Rotation,
        memory_rotation: Rotation,
        pooled: bool,
    ) -> Tensor:
        """[B or 1, N, C] to [B, N, C]."""
        x = x + self.self_attn(self.norm1(x), rotation)
        x = x + self.cross_attn_image(self.norm2(x), memory, rotation, memory_rotation, pooled)
        return x + self.linear2(functional.relu(self.linear1(self.norm3(x))))


class MemoryAttention(nn.Module):
    """All layers, and the rotary encodings that they share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(config) for _ in range(config.memory_layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.rotation = AxialRotation(config.dim, config.grid)
        self.memory_rotation = AxialRotation(config.dim, config.memory_grid, config.global_tokens)

    def forward(
        self, features: Tensor, position: Tensor, memory: MemoryTokens, pooled: bool = False
    ) -> Tensor:
        """Condition the features on the memory.

        A batch of one feature map serves all objects; everything before the first cross-attention
        is then computed once.

        Args:
            features: [B or 1, N, C].
            position: sine position map [N, C].
            memory: memory of B objects.
            pooled: use the pooled cross-attention.

        Returns:
            [B, N, C].
        """
        x = features + 0.1 * position
        rotations = self.rotation(), self.memory_rotation()
        for layer in self.layers:
            x = layer(x, memory, *rotations, pooled)
        return self.norm(x)
