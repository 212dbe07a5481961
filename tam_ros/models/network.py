# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The network of a tracker: parts named as in the official checkpoints, and four functions.

A runtime calls the four public functions; each has static shapes for a given number of objects
and becomes one exported graph. R is the image size, G = R / 16, N tokens of a memory, B objects.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.model_files import ABSENT
from tam_ros.models.config import IMAGE_MEAN, IMAGE_STD, ModelConfig
from tam_ros.models.layers import MLP, SinePosition, sizes
from tam_ros.models.mask_decoder import MaskDecoder
from tam_ros.models.memory_attention import MemoryAttention, MemoryTokens
from tam_ros.models.memory_encoder import MemoryEncoder
from tam_ros.models.prompt_encoder import PromptEncoder

HIDDEN = -1e4  # attention bias of masked keys; its exponential is exactly 0 in fp32 and fp16
MASK_SCALE, MASK_SHIFT = 20.0, -10.0  # of mask probabilities, before the memory encoder


class TrackAnything(nn.Module):
    """The network; `load_state_dict` takes an official checkpoint's `['model']` strictly.

    A family adds its image encoder, and may override `_features` (features of an image) and
    `_tokens` (tokens of a memory).
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: ModelConfig, image_encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.image_encoder = image_encoder
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(dim, config.image_size)
        self.sam_mask_decoder = MaskDecoder(config)
        self.obj_ptr_proj = MLP((dim, dim, dim, dim))
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.maskmem_tpos_enc = nn.Parameter(
            torch.zeros(config.num_memories, 1, 1, config.memory_dim)
        )
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, dim))  # in checkpoints, but unused
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        self.image_position = SinePosition(dim, config.grid)
        self.memory_position = SinePosition(
            config.memory_dim, config.memory_grid, config.global_tokens
        )
        for name, value in (
            ('image_mean', 255.0 * torch.tensor(IMAGE_MEAN)),
            ('image_std', 255.0 * torch.tensor(IMAGE_STD)),
        ):
            self.register_buffer(name, value, persistent=False)

    def _features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map a normalised image [B, 3, R, R] to features [B, dim, G, G] and any finer ones."""
        return (self.image_encoder(image),)

    def _tokens(self, memory: Tensor) -> Tensor:
        """Map a memory [B, memory_dim, G, G] to its tokens [B, N, memory_dim]."""
        channels, height, width = sizes(memory)[1:]
        return memory.reshape(-1, channels, height * width).transpose(1, 2)

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode an image.

        Args:
            image: uint8 RGB [1, R, R, 3].

        Returns:
            Features [1, dim, G, G]; the decoder's input for objects without memory, of the same
            shape; and the finer features for `decode_masks`, if any.
        """
        normalised = (image.float() - self.image_mean) / self.image_std
        features, *high_resolution = self._features(normalised.permute(0, 3, 1, 2))
        without_memory = features + self.no_mem_embed.reshape(1, -1, 1, 1)
        return features, without_memory, *high_resolution

    def attend_memory(
        self,
        features: Tensor,
        memories: Tensor,
        temporal_index: Tensor,
        memory_valid: Tensor,
        pointers: Tensor,
        pointer_valid: Tensor,
        pooled: bool,
    ) -> Tensor:
        """Condition the features of a frame on the memory bank of each object.

        Args:
            features: features of `encode_image` [1, dim, G, G].
            memories: [B, S, N, memory_dim], in any order.
            temporal_index: int64 [B, S]: num_memories - 1 for a conditioning frame, d - 1 for
                the frame d steps ago.
            memory_valid: [B, S], 1 for a filled slot, else 0; at least one is filled.
            pointers: object pointers [B, P, dim], in any order.
            pointer_valid: [B, P], 1 or 0.
            pooled: pool the keys of the cross-attention. The official models pool from the second
                memory on; with one memory their attention is exact.

        Returns:
            [B, dim, G, G].
        """
        dim, grid, memory_dim = self.config.dim, self.config.grid, self.config.memory_dim
        split = dim // memory_dim
        tokens = sizes(pointers)[1] * split
        temporal = self.maskmem_tpos_enc[:, 0, 0][temporal_index][:, :, None]
        pointer_tokens = pointers.reshape(-1, tokens, memory_dim)
        pointer_bias = (1 - pointer_valid) * HIDDEN
        pointer_bias = pointer_bias[:, :, None] + pointer_bias.new_zeros(split)
        memory = MemoryTokens(
            spatial_keys=memories + self.memory_position() + temporal,
            spatial_values=memories,
            spatial_bias=(1 - memory_valid) * HIDDEN,
            pointer_keys=pointer_tokens,
            pointer_values=pointer_tokens,
            pointer_bias=pointer_bias.reshape(-1, tokens),
        )
        conditioned = self.memory_attention(
            features.reshape(-1, dim, grid * grid).transpose(1, 2),
            self.image_position(),
            memory,
            pooled,
        )
        return conditioned.transpose(1, 2).reshape(-1, dim, grid, grid)

    def decode_masks(
        self,
        features: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        *high_resolution: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict the candidate masks of each object.

        Args:
            features: conditioned, or of a frame without memory [B or 1, dim, G, G].
            points: pixels (x, y) of the network input [B, P, 2].
            labels: int [B, P], see `prompt_encoder`.
            mask: mask prompt, logits [B, 1, R/4, R/4].
            has_mask: [B], 1 where there is a mask prompt, else 0.
            high_resolution: finer features of the image, of strides 8 and 4, if the family has
                them.

        Returns:
            Mask logits [B, 4, R/4, R/4], predicted IoUs [B, 4], object score logits [B, 1], and
            object pointers [B, 4, dim], one per candidate, already replaced by the
            "no object" pointer where the score is not positive.
        """
        encoder = self.sam_prompt_encoder
        decoded = self.sam_mask_decoder(
            features,
            encoder.pe_layer.dense(self.config.grid),
            encoder.points(points, labels),
            encoder.dense(mask, has_mask),
            (labels == ABSENT) * HIDDEN,
            high_resolution,
        )
        assert decoded.score is not None
        present = (decoded.score > 0).float()[:, :, None]
        pointers = present * self.obj_ptr_proj(decoded.tokens) + (1 - present) * self.no_obj_ptr
        return decoded.masks, decoded.ious, decoded.score, pointers

    def encode_memory(self, features: Tensor, masks: Tensor, prompted: Tensor) -> Tensor:
        """Encode one memory of a frame for each object.

        Args:
            features: features of `encode_image` [1, dim, G, G].
            masks: chosen mask logits [B, 1, R/4, R/4].
            prompted: [B], 1 where the object was prompted on this frame; binarises its mask.

        Returns:
            [B, N, memory_dim].
        """
        full = functional.interpolate(masks, scale_factor=4, mode='bilinear', align_corners=False)
        prompted = prompted[:, None, None, None]
        probability = prompted * (full > 0).float() + (1 - prompted) * full.sigmoid()
        return self._tokens(self.memory_encoder(features, probability * MASK_SCALE + MASK_SHIFT))
