# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""2D Spatial Perceiver of EdgeTAM (arXiv 2501.07256, section 3.3): a memory map to few tokens.

Two groups of learnt latents share all weights. The global ones attend to the whole map; the others
to one window each, so that they keep a place in the image. A window is a group of one latent, the
map a group of all the global ones: attention runs within groups [B, groups, tokens, C], which
is the shape of heads, so any batch works (the official code fails on more than one object).
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
        """Latents [B, G, L, C] look at x [B, G, N, C]; the position goes to keys and values."""
        both = self.to_kv(x)
        dim = sizes(x)[-1]
        keys, values = both[..., :dim], both[..., dim:]
        if position is not None:
            keys, values = keys + position, values + position
        return self.to_out(attend(self.to_q(latents), keys, values))


class CrossAttention(LatentAttention):
    """Latents to the map."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.norm_x = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)

    def forward(self, latents: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
        """[B or 1, G, L, C] to [B, G, L, C]."""
        return self.attend(self.norm_latents(latents), self.norm_x(x), position)


class SelfAttention(LatentAttention):
    """Latents of a group among themselves."""

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
    """Look at the map, then at each other."""

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
    """Condenses a memory."""

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
        """Condense a map [B, C, G, G] into global tokens, then those of the windows, row by row.

        Returns:
            [B, global_latents + patch_grid ** 2, C].
        """
        channels, height, width = sizes(memory)[1:]
        side = height // self.windows
        rows = memory.permute(0, 2, 3, 1)
        tokens = rows.reshape(-1, 1, height * width, channels)
        windows = rows.reshape(-1, self.windows, side, self.windows, side, channels)
        windows = windows.transpose(2, 3).reshape(-1, self.windows**2, side**2, channels)
        everywhere = self._condense(self.latents[None, None], tokens, self.position())
        placed = self._condense(self.latents_2d[None, :, None], windows, None)
        return torch.cat(
            [
                latents.reshape(-1, count, channels)
                for latents, count in ((everywhere, len(self.latents)), (placed, self.windows**2))
            ],
            dim=1,
        )

    def _condense(self, latents: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
        for layer in self.layers:
            latents = layer(latents, x, position)
        return self.norm(latents)
