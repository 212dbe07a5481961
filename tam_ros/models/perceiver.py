# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""2D Spatial Perceiver of EdgeTAM (arXiv 2501.07256, section 3.3): a memory map to few tokens.

Two groups of learnt latents share all weights. The global latents attend to the whole map; each of
the others attends to one window, and so keeps a position in the image. A window is a group of one
latent, and the map a group of all global latents: attention is within groups [B, groups, tokens,
C], which is the shape of attention heads, so any batch size works (the official code fails with
more than one object).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tam_ros.models.config import EdgeTAMConfig
from tam_ros.models.layers import SinePosition, attend, sizes


class LatentAttention(nn.Module):
    """One-headed attention without biases; keys and values share a projection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def attend(self, latents: Tensor, x: Tensor, position: Tensor | None = None) -> Tensor:
        """Attend from latents [B, G, L, C] to x [B, G, N, C], with positions if given."""
        both = self.to_kv(x)
        dim = sizes(x)[-1]
        keys, values = both[..., :dim], both[..., dim:]
        if position is not None:
            keys, values = keys + position, values + position
        return self.to_out(attend(self.to_q(latents), keys, values))


class CrossAttention(LatentAttention):
    """Attention from the latents to the map."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.norm_x = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)

    def forward(self, latents: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
        """[B or 1, G, L, C] to [B, G, L, C]."""
        return self.attend(self.norm_latents(latents), self.norm_x(x), position)


class SelfAttention(LatentAttention):
    """Attention among the latents of a group."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, G, L, C] to the same."""
        normalised = self.norm(latents)
        return self.attend(normalised, normalised)


def feed_forward(dim: int) -> nn.Sequential:
    """Build a pre-norm feed-forward network without biases."""
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, 4 * dim, bias=False),
        nn.GELU(),
        nn.Linear(4 * dim, dim, bias=False),
    )


class PerceiverLayer(nn.Module):
    """Attention to the map, then among the latents."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = CrossAttention(dim)
        self.ff = feed_forward(dim)
        self.self_attn = SelfAttention(dim)
        self.self_ff = feed_forward(dim)

    def forward(self, latents: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
        """[B or 1, G, L, C] to [B, G, L, C]."""
        latents = latents + self.attn(latents, x, position)
        latents = latents + self.ff(latents)
        latents = latents + self.self_attn(latents)
        return latents + self.self_ff(latents)


class SpatialPerceiver(nn.Module):
    """Reduces a memory to its latents."""

    def __init__(self, config: EdgeTAMConfig) -> None:
        super().__init__()
        dim = config.memory_dim
        self.windows = config.patch_grid
        self.latents = nn.Parameter(torch.randn(config.global_latents, dim))
        self.latents_2d = nn.Parameter(torch.randn(config.patch_grid**2, dim))
        self.layers = nn.ModuleList(PerceiverLayer(dim) for _ in range(config.perceiver_depth))
        self.norm = nn.LayerNorm(dim)
        self.position = SinePosition(dim, config.grid)

    def forward(self, memory: Tensor) -> Tensor:
        """Reduce a map [B, C, G, G] to the global tokens, then those of the windows, row by row.

        Returns:
            [B, global_latents + patch_grid ** 2, C].
        """
        channels, height, width = sizes(memory)[1:]
        side = height // self.windows
        rows = memory.permute(0, 2, 3, 1)
        tokens = rows.reshape(-1, 1, height * width, channels)
        windows = rows.reshape(-1, self.windows, side, self.windows, side, channels)
        windows = windows.transpose(2, 3).reshape(-1, self.windows**2, side**2, channels)
        global_tokens = self._attend(self.latents[None, None], tokens, self.position())
        window_tokens = self._attend(self.latents_2d[None, :, None], windows, None)
        return torch.cat(
            [
                latents.reshape(-1, count, channels)
                for latents, count in (
                    (global_tokens, len(self.latents)),
                    (window_tokens, self.windows**2),
                )
            ],
            dim=1,
        )

    def _attend(self, latents: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
        for layer in self.layers:
            latents = layer(latents, x, position)
        return self.norm(latents)
