# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Memory encoder: makes a memory from the frame's features and the object's mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tam_ros.models.config import ModelConfig
from tam_ros.models.layers import LayerNorm2d


class MaskDownsampler(nn.Module):
    """Reduces a mask of full size to a map of stride 16."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(4):
            layers += [
                nn.Conv2d(channels, channels * 4, kernel_size=3, stride=2, padding=1),
                LayerNorm2d(channels * 4),
                nn.GELU(),
            ]
            channels *= 4
        layers.append(nn.Conv2d(channels, dim, kernel_size=1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, R, R] to [B, dim, R/16, R/16]."""
        return self.encoder(x)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7 convolution and a pointwise bottleneck (arXiv 2201.03545)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, G, G] to the same."""
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.activation(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """A stack of ConvNeXt blocks."""

    def __init__(self, dim: int, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, G, G] to the same."""
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Fuses features and mask."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(config.dim)
        self.pix_feat_proj = nn.Conv2d(config.dim, config.dim, kernel_size=1)
        self.fuser = Fuser(config.dim)
        self.out_proj = nn.Conv2d(config.dim, config.memory_dim, kernel_size=1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Encode.

        Args:
            features: features of the image encoder, without memory [B or 1, dim, G, G].
            mask: [B, 1, R, R] in -10..10.

        Returns:
            [B, memory_dim, G, G].
        """
        fused = self.pix_feat_proj(features) + self.mask_downsampler(mask)
        return self.out_proj(self.fuser(fused))
