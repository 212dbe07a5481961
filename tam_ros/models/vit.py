# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image encoder: plain ViT with windowed and global blocks, and a one-level neck.

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection" (ViTDet), as
EfficientTAM uses it: no relative positions, no final norm, no class token in the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.models.config import EfficientTAMConfig
from tam_ros.models.layers import MLP, LayerNorm2d, dynamic_attention, sizes

PRETRAIN_GRID = 14  # side of the position embedding in the checkpoints
DEPTHWISE_SIDE = 5  # of the kernels of `DynamicDepthwise`, tokens


class PatchEmbed(nn.Module):
    """Embeds patches of 16x16 pixels as tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=16, stride=16)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, H/16, W/16, dim]."""
        return self.proj(x).permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int, mode: str) -> None:
        super().__init__()
        self.heads = heads
        self.mode = mode
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        tokens, channels = sizes(x)[1:]
        qkv = self.qkv(x).reshape(-1, tokens, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = dynamic_attention(q, k, v, self.mode)
        return self.proj(attended.transpose(1, 2).reshape(-1, tokens, channels))


class DynamicDepthwise(nn.Module):
    """Depthwise convolution whose kernels follow from the image: one for each channel.

    In place of the attention of a block, on the whole map. arXiv 2309.10713 proposes a block of
    this kind; its exact form is not known to us. Here the kernels are a linear function of the
    mean of all tokens. Han et al. (arXiv 2106.04263) compare such a layer with windowed attention.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.value = nn.Linear(dim, dim)
        self.kernel = nn.Linear(dim, dim * DEPTHWISE_SIDE**2)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        height, width, channels = sizes(x)[1:]
        kernel = self.kernel(x.mean((1, 2))).reshape(-1, 1, 1, channels, DEPTHWISE_SIDE**2)
        edge = DEPTHWISE_SIDE // 2
        padded = functional.pad(self.value(x), (0, 0, edge, edge, edge, edge))
        # A sum of shifted maps: no runtime has a fast convolution with computed weights.
        mixed = 0 * padded[:, :height, :width]
        for index in range(DEPTHWISE_SIDE**2):
            row, column = divmod(index, DEPTHWISE_SIDE)
            shifted = padded[:, row : row + height, column : column + width]
            mixed = mixed + shifted * kernel[..., index]
        return self.proj(mixed)


class Block(nn.Module):
    """Transformer block; `window_size` 0 attends globally.

    A grid that the windows do not divide is padded at the bottom and right after the norm. The
    padding is not masked: its tokens take part as keys, as in the official code.
    """

    def __init__(self, dim: int, heads: int, window_size: int, attention: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.depthwise = attention == 'depthwise'
        self.attn = DynamicDepthwise(dim) if self.depthwise else Attention(dim, heads, attention)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP((dim, dim * 4, dim), nn.GELU)
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H, W, C]."""
        attended = self.norm1(x)
        if self.depthwise:
            attended = self.attn(attended)
        else:
            attended = self._windowed(attended) if self.window_size else self._global(attended)
        x = x + attended
        return x + self.mlp(self.norm2(x))

    def _global(self, x: Tensor) -> Tensor:
        height, width, channels = sizes(x)[1:]
        x = self.attn(x.reshape(-1, height * width, channels))
        return x.reshape(-1, height, width, channels)

    def _windowed(self, x: Tensor) -> Tensor:
        height, width, channels = sizes(x)[1:]
        side = self.window_size
        rows, columns = -(-height // side), -(-width // side)
        if (rows * side, columns * side) != (height, width):
            x = functional.pad(x, (0, 0, 0, columns * side - width, 0, rows * side - height))
        x = x.reshape(-1, rows, side, columns, side, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, side * side, channels))
        x = x.reshape(-1, rows, columns, side, side, channels).transpose(2, 3)
        return x.reshape(-1, rows * side, columns * side, channels)[:, :height, :width]


class ViT(nn.Module):
    """The trunk."""

    def __init__(self, config: EfficientTAMConfig) -> None:
        super().__init__()
        dim = config.trunk_dim
        self.pos_embed = nn.Parameter(torch.zeros(1, PRETRAIN_GRID**2 + 1, dim))
        self.patch_embed = PatchEmbed(dim)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config.trunk_heads,
                0 if index in config.global_blocks else config.window_size,
                config.trunk_attention,
            )
            for index in range(config.trunk_depth)
        )

    def position(self, height: int, width: int) -> Tensor:
        """Resize the position embedding to [1, height, width, C], without its class slot."""
        square = self.pos_embed[:, 1:].reshape(1, PRETRAIN_GRID, PRETRAIN_GRID, -1)
        resized = functional.interpolate(
            square.permute(0, 3, 1, 2), size=(height, width), mode='bicubic', align_corners=False
        )
        return resized.permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, C, H/16, W/16]."""
        x = self.patch_embed(x)
        x = x + self.position(*sizes(x)[1:3])
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class NeckLevel(nn.Module):
    """Trunk channels to feature channels at the trunk's stride."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
        self.norm_0 = LayerNorm2d(outputs)
        self.conv_3x3 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.norm_1 = LayerNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, G, G] to [B, outputs, G, G]."""
        return self.norm_1(self.conv_3x3(self.norm_0(self.conv_1x1(x))))


class Neck(nn.Module):
    """The neck; it has a single level, named as in the checkpoints."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([NeckLevel(inputs, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, G, G] to [B, outputs, G, G]."""
        return self.convs[0](x)


class ImageEncoder(nn.Module):
    """Trunk and neck."""

    def __init__(self, config: EfficientTAMConfig) -> None:
        super().__init__()
        self.trunk = ViT(config)
        self.neck = Neck(config.trunk_dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised image [B, 3, R, R] to features [B, dim, R/16, R/16]."""
        return self.neck(self.trunk(x))
