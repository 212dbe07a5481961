# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution, version 2 (arXiv 1811.11168): the kernel's taps are moved and weighted.

For every output pixel, a convolution of the same input predicts where each tap samples, in pixels
away from its usual place, and the weight of the sample. Sampling is bilinear, with zeros outside.

ONNX has an operator for it, which OpenVINO and TensorRT for RTX do not know. `grid_sample` is
known to all, but takes ONNX Runtime two to three times as long as the operator. What is here,
taking rows of a table of pixels, takes it 1.2 to 1.5 times as long and runs everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SamplePlaces(nn.Module):
    """Which pixels each tap samples, and with which weights; computes in single precision.

    Half precision does not distinguish places within a pixel at the right edge of a large map.
    """

    def __init__(self, side: int, stride: int) -> None:
        super().__init__()
        self.side = side
        self.stride = stride

    def forward(
        self, offsets: Tensor, weights: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return where the samples are.

        Args:
            offsets: [1, 2 * K * K, H', W'], y and x of each tap, pixels.
            weights: [1, K * K, H', W'].
            x: [1, C, H, W], for its size only.

        Returns:
            Rows [H', W', K * K] of a table of pixels with a border of one, for the upper left
            neighbour of each sample, and the weights [H', W', K * K, 1] of it, of the one to its
            right, of the one below, and of the one below that is to the right.
        """
        height, width = (int(size) for size in x.shape[2:])
        rows, columns = (int(size) for size in offsets.shape[2:])
        taps = torch.arange(self.side, dtype=torch.float32) - self.side // 2
        moved = offsets.reshape(self.side**2, 2, rows, columns).permute(2, 3, 0, 1)
        y = moved[..., 0] + (
            taps.repeat_interleave(self.side) + self.stride * torch.arange(rows)[:, None, None]
        )
        x_ = moved[..., 1] + taps.repeat(self.side) + self.stride * torch.arange(columns)[:, None]
        top, left = y.floor(), x_.floor()
        below, right = y - top, x_ - left
        inside = (y > -1) & (y < height) & (x_ > -1) & (x_ < width)
        weight = torch.where(inside, weights[0].permute(1, 2, 0), 0.0)
        row = top.clamp(-1, height - 1).long() + 1
        column = left.clamp(-1, width - 1).long() + 1
        upper, lower = (1 - below) * weight, below * weight
        return (
            row * (width + 2) + column,
            (upper * (1 - right))[..., None],
            (upper * right)[..., None],
            (lower * (1 - right))[..., None],
            (lower * right)[..., None],
        )


class DeformableConv2d(nn.Module):
    """A 3x3 deformable convolution; its names are those of the official checkpoints."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_uniform_(self.weight)
        self.conv_offset_mask = nn.Conv2d(in_channels, 27, 3, stride, padding=1)
        self.places = SamplePlaces(3, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[1, C, H, W] to [1, C', H', W']."""
        moved = self.conv_offset_mask(x)
        return self.convolve(x, moved[:, :18], moved[:, 18:].sigmoid())

    def convolve(self, x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """Convolve with moved and weighted taps; see `SamplePlaces`."""
        channels, width = int(x.shape[1]), int(x.shape[3])
        index, *shares = self.places(offsets, weights, x)
        pixels = functional.pad(x, (1, 1, 1, 1))[0].permute(1, 2, 0).reshape(-1, channels)
        samples = pixels[index] * shares[0]
        for step, share in zip((1, width + 2, width + 3), shares[1:], strict=True):
            samples = samples + pixels[index + step] * share
        rows, columns, taps = (int(size) for size in index.shape)
        kernel = self.weight.permute(2, 3, 1, 0).reshape(taps * channels, -1)
        result = samples.reshape(rows * columns, taps * channels) @ kernel + self.bias
        return result.T.reshape(1, -1, rows, columns)
