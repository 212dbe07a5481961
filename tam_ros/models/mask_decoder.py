# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Mask decoder: a two-way transformer between tokens and the feature map (SAM, 2304.02643)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tam_ros.models.config import DecoderConfig
from tam_ros.models.layers import MLP, LayerNorm2d, attend, sizes

NUM_MASK_TOKENS = 4  # token 0 for unambiguous prompts, 1..3 for ambiguous ones


class DecoderAttention(nn.Module):
    """Multi-head attention whose inner width may be half of the outer one."""

    def __init__(self, dim: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, Nq, C], [B, Nk, C], [B, Nk, C] to [B, Nq, C]; bias broadcast to the logits."""
        q, k, v = (
            self._split(project(x))
            for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        attended = attend(q, k, v, bias)
        _, heads, tokens, channels = sizes(attended)
        return self.out_proj(attended.transpose(1, 2).reshape(-1, tokens, heads * channels))

    def _split(self, x: Tensor) -> Tensor:
        tokens, channels = sizes(x)[1:]
        return x.reshape(-1, tokens, self.heads, channels // self.heads).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens to image, feed-forward, image to tokens."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, first: bool) -> None:
        super().__init__()
        self.self_attn = DecoderAttention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = DecoderAttention(dim, heads, 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP((dim, mlp_dim, dim))
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = DecoderAttention(dim, heads, 2)
        self.first = first

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        token_position: Tensor,
        image_position: Tensor,
        bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Update tokens [B, T, C] and image [B, N, C]; bias [B, 1, 1, T] masks tokens."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, bias)
        else:
            q = tokens + token_position
            tokens = tokens + self.self_attn(q, q, tokens, bias)
        tokens = self.norm1(tokens)
        tokens = self.norm2(
            tokens
            + self.cross_attn_token_to_image(
                tokens + token_position, image + image_position, image
            )
        )
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(
            image
            + self.cross_attn_image_to_token(
                image + image_position, tokens + token_position, tokens, bias
            )
        )
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two blocks, and a final attention of the tokens to the image."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, heads, mlp_dim, first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = DecoderAttention(dim, heads, 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_position: Tensor, tokens: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens [B, T, C] and the image [B, N, C]."""
        position = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, position, image_position, bias)
        attended = self.final_attn_token_to_image(tokens + position, image + image_position, image)
        return self.norm_final_attn(tokens + attended), image


class DecodedMasks(NamedTuple):
    """All candidates of the decoder.

    Attributes:
        masks: logits [B, 4, R/4, R/4].
        ious: predicted IoU of each [B, 4], 0..1; in SAM's decoder not limited to that.
        tokens: mask tokens [B, 4, C], from which object pointers are made.
        score: logit of the object being in the image [B, 1]; None in SAM's decoder.
    """

    masks: Tensor
    ious: Tensor
    tokens: Tensor
    score: Tensor | None


class MaskDecoder(nn.Module):
    """Predicts candidate masks, their IoU, and whether the object is in the image.

    SAM's decoder lacks the last, and its predicted IoU has no sigmoid.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.transformer = TwoWayTransformer(dim, config.decoder_heads, config.decoder_mlp_dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASK_TOKENS, dim)
        if config.object_score:
            self.obj_score_token = nn.Embedding(1, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        if config.high_resolution:  # projections of the finer features, applied once per image
            self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)
            self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP((dim, dim, dim, dim // 8)) for _ in range(NUM_MASK_TOKENS)
        )
        self.iou_prediction_head = MLP((dim, dim, dim, NUM_MASK_TOKENS))
        if config.object_score:
            self.pred_obj_score_head = MLP((dim, dim, dim, 1))
        self.object_score = config.object_score

    def forward(
        self,
        features: Tensor,
        image_position: Tensor,
        prompt: Tensor,
        dense: Tensor,
        hidden: Tensor | None = None,
        high_resolution: tuple[Tensor, ...] = (),
    ) -> DecodedMasks:
        """Decode.

        Args:
            features: [B or 1, C, G, G].
            image_position: [C, G, G].
            prompt: tokens of the prompt encoder [B, P, C].
            dense: map of the prompt encoder [B, C, G, G].
            hidden: [B, P], added to the attention logits of the prompt tokens: -1e4 masks one.
            high_resolution: empty, or features of stride 8 [1, C / 4, 2G, 2G] and of stride 4
                [1, C / 8, 4G, 4G], which are added during upscaling.
        """
        first = (self.obj_score_token.weight,) if self.object_score else ()
        output_tokens = torch.cat((*first, self.iou_token.weight, self.mask_tokens.weight))
        # A sum instead of expand(), which would put shape arithmetic into the exported graph.
        output_tokens = output_tokens[None] + prompt[:, :1] * 0
        tokens = torch.cat((output_tokens, prompt), dim=1)
        bias = None
        if hidden is not None:
            shown = hidden[:, :1] * 0 + hidden.new_zeros(sizes(output_tokens)[1])
            bias = torch.cat((shown, hidden), dim=1)[:, None, None]
        channels, height, width = sizes(image_position)
        image = (features + dense).reshape(-1, channels, height * width).transpose(1, 2)
        position = image_position.reshape(channels, height * width).transpose(0, 1)[None]
        tokens, image = self.transformer(image, position, tokens, bias)

        iou_token = tokens[:, len(first)]
        mask_tokens = tokens[:, len(first) + 1 : len(first) + 1 + NUM_MASK_TOKENS]
        upscaled = self._upscale(
            image.transpose(1, 2).reshape(-1, channels, height, width), high_resolution
        )
        upscaled = upscaled.reshape(-1, channels // 8, 16 * height * width)
        kernels = torch.stack(
            [
                mlp(mask_tokens[:, index])
                for index, mlp in enumerate(self.output_hypernetworks_mlps)
            ],
            dim=1,
        )
        masks = (kernels @ upscaled).reshape(-1, NUM_MASK_TOKENS, 4 * height, 4 * width)
        ious = self.iou_prediction_head(iou_token)
        if not self.object_score:
            return DecodedMasks(masks, ious, mask_tokens, None)
        score = self.pred_obj_score_head(tokens[:, 0])
        return DecodedMasks(masks, ious.sigmoid(), mask_tokens, score)

    def _upscale(self, image: Tensor, high_resolution: tuple[Tensor, ...]) -> Tensor:
        """[B, C, G, G] to [B, C / 8, 4G, 4G]."""
        if not high_resolution:
            return self.output_upscaling(image)
        stride_8, stride_4 = high_resolution
        first, norm, activation, second, last = self.output_upscaling
        return last(second(activation(norm(first(image) + stride_8))) + stride_4)
