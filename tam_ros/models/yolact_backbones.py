# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The backbones of YOLACT: ResNet (arXiv 1512.03385) and Darknet-53 (arXiv 1804.02767).

Module names are the keys of the official checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tam_ros.models.deformable import DeformableConv2d

EXPANSION = 4  # output channels of a bottleneck, per inner channel


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution around a shortcut."""

    def __init__(
        self, in_channels: int, inner: int, stride: int, shortcut: bool, deformable: bool
    ) -> None:
        super().__init__()
        out_channels = inner * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = (
            DeformableConv2d(inner, inner, stride)
            if deformable
            else nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        )
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if shortcut
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """[1, C, H, W] to [1, C', H / stride, W / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Features of strides 4, 8, 16 and 32."""

    def __init__(
        self, blocks: Sequence[int], deformable: Sequence[int] = (0, 0, 0, 0), interval: int = 1
    ) -> None:
        """Build four stages.

        Args:
            blocks: of each stage.
            deformable: last blocks of each stage that have a deformable convolution,
            interval: but only every so many of them, counted from the first one of the stage.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layers = nn.ModuleList()
        self.channels: list[int] = []
        last = 64
        for stage, (count, deformed) in enumerate(zip(blocks, deformable, strict=True)):
            inner = 64 << stage
            parts = []
            for index in range(count):
                parts.append(
                    Bottleneck(
                        last,
                        inner,
                        stride=2 if stage and not index else 1,
                        shortcut=not index,
                        deformable=index >= count - deformed and index % interval == 0,
                    )
                )
                last = inner * EXPANSION
            self.layers.append(nn.Sequential(*parts))
            self.channels.append(last)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[1, 3, R, R] to the features of each stage."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


def _unit(in_channels: int, out_channels: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, side, stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.1),
    )


class DarkBlock(nn.Module):
    """1x1 and 3x3 convolution beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _unit(channels, channels // 2, 1)
        self.conv2 = _unit(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays the same."""
        y: Tensor = self.conv2(self.conv1(x))
        return y + x


class Darknet(nn.Module):
    """Features of strides 2, 4, 8, 16 and 32."""

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        self._preconv = _unit(3, 32, 3)
        self.layers = nn.ModuleList()
        self.channels: list[int] = []
        for stage, count in enumerate(blocks):
            channels = 64 << stage
            parts = [_unit(channels // 2, channels, 3, stride=2)]
            self.layers.append(nn.Sequential(*parts, *(DarkBlock(channels) for _ in range(count))))
            self.channels.append(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[1, 3, R, R] to the features of each stage."""
        x = self._preconv(x)
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found
