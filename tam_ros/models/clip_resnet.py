# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The ResNet of CLIP (arXiv 2103.00020) with its attention pool opened.

It differs from a usual ResNet: the stem has three convolutions, strides are average pools before
a convolution, and an attention pool ends it. MaskCLIP (arXiv 2112.01071) applies the pool's value
and output projections to every place of the last map.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.models.layers import attend, sizes

EXPANSION = 4


class Bottleneck(nn.Module):
    """Residual block; a stride is an average pool."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, planes * EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * EXPANSION)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != planes * EXPANSION:
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ('-1', nn.AvgPool2d(stride)),
                        ('0', nn.Conv2d(inputs, planes * EXPANSION, 1, bias=False)),
                        ('1', nn.BatchNorm2d(planes * EXPANSION)),
                    ]
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, 4 * planes, H / stride, W / stride]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self.avgpool(y)))
        return functional.relu(y + self.downsample(x))


class AttentionPool(nn.Module):
    """Pools a map by attention; `forward` is its path of values at every place."""

    def __init__(self, grid: int, width: int, outputs: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, width) * width**-0.5)
        self.k_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] to features [B, D, H, W] and keys [B, C, H, W]."""
        places = x.permute(0, 2, 3, 1)
        features = self.c_proj(self.v_proj(places))
        return features.permute(0, 3, 1, 2), self.k_proj(places).permute(0, 3, 1, 2)

    def attended(self, x: Tensor, heads: int) -> Tensor:
        """Let every place attend to the map and its mean; [B, C, H, W] to [B, D, H, W].

        MaskCLIP's other form of the pool. No position embedding is added, as in its repository.
        """
        channels, height, width = sizes(x)[1:]
        tokens = x.reshape(-1, channels, height * width).transpose(1, 2)
        tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1)

        def split(projected: Tensor) -> Tensor:
            shape = (-1, height * width + 1, heads, channels // heads)
            return projected.reshape(shape).transpose(1, 2)

        pooled = attend(
            split(self.q_proj(tokens)), split(self.k_proj(tokens)), split(self.v_proj(tokens))
        )
        pooled = pooled.transpose(1, 2).reshape(-1, height * width + 1, channels)
        features = self.c_proj(pooled)[:, 1:].transpose(1, 2)
        return features.reshape(-1, sizes(features)[1], height, width)


class ModifiedResNet(nn.Module):
    """The image tower."""

    def __init__(self, layers: tuple[int, ...], width: int, grid: int, outputs: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self._inputs = width
        self.layer1 = self._stage(width, layers[0], 1)
        self.layer2 = self._stage(width * 2, layers[1], 2)
        self.layer3 = self._stage(width * 4, layers[2], 2)
        self.layer4 = self._stage(width * 8, layers[3], 2)
        self.attnpool = AttentionPool(grid, width * 32, outputs)

    def _stage(self, planes: int, blocks: int, stride: int) -> nn.Sequential:
        made = []
        for index in range(blocks):
            made.append(Bottleneck(self._inputs, planes, stride if index == 0 else 1))
            self._inputs = planes * EXPANSION
        return nn.Sequential(*made)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Encode densely.

        Args:
            image: [B, 3, H, W], normalised; multiples of 32.

        Returns:
            Features [B, D, H/32, W/32] and keys [B, C, H/32, W/32].
        """
        x = functional.relu(self.bn1(self.conv1(image)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = self.avgpool(functional.relu(self.bn3(self.conv3(x))))
        return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
