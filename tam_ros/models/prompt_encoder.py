# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Prompt encoder of SAM: clicks, box corners and masks to tokens and a dense map."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tam_ros.model_files import PADDING
from tam_ros.models.layers import LayerNorm2d

# Labels of points; a box is its two corners. tam_ros.model_files has two more.
NEGATIVE, POSITIVE, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = 0, 1, 2, 3


class RandomFourierPosition(nn.Module):
    """Position encoding by random frequencies, which the checkpoint contains."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer('positional_encoding_gaussian_matrix', torch.randn(2, channels // 2))

    def forward(self, position: Tensor) -> Tensor:
        """Positions [..., 2] in 0..1 (x, y) to [..., channels]."""
        angle = (2 * position - 1) @ self.positional_encoding_gaussian_matrix * (2 * math.pi)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def dense(self, grid: int) -> Tensor:
        """Encode the centres of a grid x grid map: [channels, grid, grid]."""
        centre = (
            torch.arange(grid, device=self.positional_encoding_gaussian_matrix.device) + 0.5
        ) / grid
        y, x = torch.meshgrid(centre, centre, indexing='ij')
        return self(torch.stack((x, y), dim=-1)).permute(2, 0, 1)


class PromptEncoder(nn.Module):
    """Encodes one prompt per object."""

    def __init__(self, dim: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.pe_layer = RandomFourierPosition(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Encode points.

        Args:
            points: [B, P, 2], pixels (x, y) of the network input.
            labels: [B, P], the constants of this module, `PADDING` or `ABSENT`.

        Returns:
            [B, P, dim].
        """
        encoded = self.pe_layer((points + 0.5) / self.image_size)
        encoded = encoded * (labels >= 0)[..., None]
        kinds = [embedding.weight for embedding in self.point_embeddings]
        for label, embedding in zip(
            (PADDING, NEGATIVE, POSITIVE, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT),
            (self.not_a_point_embed.weight, *kinds),
            strict=True,
        ):
            encoded = encoded + (labels == label)[..., None] * embedding
        return encoded

    def dense(self, mask: Tensor, has_mask: Tensor) -> Tensor:
        """Encode a mask prompt, or its absence.

        Args:
            mask: logits [B, 1, R/4, R/4].
            has_mask: [B], 1 where there is a mask prompt, else 0.

        Returns:
            [B, dim, R/16, R/16].
        """
        has_mask = has_mask[:, None, None, None]
        none = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return has_mask * self.mask_downscaling(mask) + (1 - has_mask) * none
