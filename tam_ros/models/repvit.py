# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image encoder of EdgeTAM: RepViT-M1, which EdgeSAM has as well, and a feature pyramid.

Modules are named as in EdgeTAM's checkpoints.

Wang et al., "RepViT: Revisiting Mobile CNN From ViT Perspective" (arXiv 2307.09283): a CNN whose
parallel depthwise branches and batch norms are fused into single convolutions after training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.models.config import EdgeTAMConfig

SQUEEZE = 4  # channels of a squeeze-and-excitation bottleneck: a quarter, rounded up to 8


class ConvNorm(nn.Module):
    """Convolution without bias, and batch norm; keys `c` and `bn`."""

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            inputs, outputs, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return self.bn(self.c(x))

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the equivalent convolution at inference."""
        scale = self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        return (
            self.c.weight * scale[:, None, None, None],
            self.bn.bias - self.bn.running_mean * scale,
        )

    def fused(self) -> nn.Conv2d:
        """Return the equivalent convolution at inference."""
        return _like(self.c, *self.kernel())


class TokenMixer(nn.Module):
    """Sum of a depthwise 3x3 convolution, a depthwise 1x1 convolution and the input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = ConvNorm(dim, dim, 3, groups=dim)
        self.conv1 = ConvNorm(dim, dim, 1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        return self.conv(x) + self.conv1(x) + x

    def fused(self) -> nn.Conv2d:
        """Return the equivalent depthwise 3x3 convolution at inference."""
        weight, bias = self.conv.kernel()
        centre, more = self.conv1.kernel()
        return _like(self.conv.c, weight + functional.pad(centre + 1.0, (1, 1, 1, 1)), bias + more)


def _like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a convolution of the same shape with this weight and bias."""
    result = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        groups=conv.groups,
        device=weight.device,
    )
    result.weight.data, result.bias.data = weight.detach(), bias.detach()
    return result.train(conv.training)


def fuse(module: nn.Module) -> None:
    """Replace the descendants of a module that have `fused()` by its result, in place."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm | TokenMixer):
            setattr(module, name, child.fused())
        else:
            fuse(child)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: weights of the channels from their means (arXiv 1709.01507)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = -(-dim // SQUEEZE // 8) * 8
        self.fc1 = nn.Conv2d(dim, hidden, kernel_size=1)
        self.fc2 = nn.Conv2d(hidden, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        gate = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class ChannelMixer(nn.Module):
    """Sum of two pointwise convolutions in sequence and the input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, 2 * dim)
        self.conv2 = ConvNorm(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        return x + self.conv2(functional.gelu(self.conv1(x)))


class Block(nn.Module):
    """Token mixer, then channel mixer."""

    def __init__(self, dim: int, squeeze: bool) -> None:
        super().__init__()
        self.token_mixer = TokenMixer(dim)
        self.se = SqueezeExcite(dim) if squeeze else nn.Identity()
        self.channel_mixer = ChannelMixer(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        return self.channel_mixer(self.se(self.token_mixer(x)))


class Downsample(nn.Module):
    """Halves the map between two stages."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pre_block = Block(inputs, squeeze=False)
        self.spatial_downsample = ConvNorm(inputs, inputs, 3, stride=2, groups=inputs)
        self.channel_downsample = ConvNorm(inputs, outputs)
        self.ffn = ChannelMixer(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / 2, W / 2]."""
        return self.halve(self.pre_block(x))

    def halve(self, x: Tensor) -> Tensor:
        """Do what follows the first block."""
        return self.ffn(self.channel_downsample(self.spatial_downsample(x)))


class Stem(nn.Module):
    """Image to stride 4."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, dim // 2, 3, stride=2)
        self.conv2 = ConvNorm(dim // 2, dim, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, R, R] to [B, C, R/4, R/4]."""
        return self.conv2(functional.gelu(self.conv1(x)))


class Stage(nn.Module):
    """Blocks of one resolution; every other one, from the first, has squeeze-and-excitation."""

    def __init__(self, inputs: int | None, dim: int, depth: int) -> None:
        super().__init__()
        self.downsample = Downsample(inputs, dim) if inputs else nn.Identity()
        self.blocks = nn.Sequential(
            *(Block(dim, squeeze=index % 2 == 0) for index in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, dim, H / 2, W / 2], or H, W in the first stage."""
        return self.blocks(self.downsample(x))


class RepViT(nn.Module):
    """Four stages."""

    def __init__(self, dims: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = Stem(dims[0])
        for index, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            inputs = dims[index - 1] if index else None
            setattr(self, f'stages_{index}', Stage(inputs, dim, depth))
        self.stages = len(dims)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, R, R] to maps of strides 4, 8, 16, 32."""
        x = self.stem(x)
        maps = []
        for index in range(self.stages):
            x = getattr(self, f'stages_{index}')(x)
            maps.append(x)
        return maps


class Trunk(nn.Module):
    """Adds `body` to the parameter names, as the official wrapper does."""

    def __init__(self, config: EdgeTAMConfig) -> None:
        super().__init__()
        self.body = RepViT(config.trunk_dims, config.trunk_depths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, R, R] to maps of strides 4, 8, 16, 32."""
        return self.body(x)


class Lateral(nn.Module):
    """Trunk channels to feature channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return self.conv(x)


class PyramidNeck(nn.Module):
    """Feature pyramid (arXiv 1612.03144) whose top-down path ends at stride 16."""

    def __init__(self, dims: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Lateral(dim, outputs) for dim in reversed(dims))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of strides 4, 8, 16, 32 to features of strides 16, 8, 4."""
        top, features, stride_8, stride_4 = (
            conv(x) for conv, x in zip(self.convs, reversed(maps), strict=True)
        )
        features = features + functional.interpolate(top, scale_factor=2.0, mode='nearest')
        return features, stride_8, stride_4


class PyramidEncoder(nn.Module):
    """Trunk and neck."""

    def __init__(self, config: EdgeTAMConfig) -> None:
        super().__init__()
        self.trunk = Trunk(config)
        self.neck = PyramidNeck(config.trunk_dims, config.dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised image [B, 3, R, R] to features [B, dim, ...] of strides 16, 8 and 4."""
        return self.neck(self.trunk(x))
