# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Configurations of networks; imports no tensor library.

The configurations of EfficientTAM and EdgeTAM are here because modules below their families import
them. A new family may define its configuration in a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

CROSS_ATTENTION_KINDS = ('full', 'pooled', 'pooled_key_offset')
ATTENTION_MODES = ('softmax', 'relu', 'relu_layer_norm')
TRUNK_ATTENTIONS = (*ATTENTION_MODES, 'depthwise')
IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet, of RGB in 0..1
IMAGE_STD = (0.229, 0.224, 0.225)


class DecoderConfig(Protocol):
    """What the mask decoder needs to know of a configuration.

    Attributes:
        dim: channels of the features.
        decoder_heads: attention heads.
        decoder_mlp_dim: hidden width of the feed-forward networks.
        high_resolution: whether it is given features of strides 8 and 4.
        object_score: whether it says if the object is in the image, as SAM 2's does and SAM's
            does not.
    """

    @property
    def dim(self) -> int:
        """See above."""

    @property
    def decoder_heads(self) -> int:
        """See above."""

    @property
    def decoder_mlp_dim(self) -> int:
        """See above."""

    high_resolution: ClassVar[bool]
    object_score: ClassVar[bool]


@dataclass(frozen=True)
class ModelConfig:
    """Configuration that all families have in common.

    Attributes:
        image_size: side of the square network input, pixels; a multiple of 16.
        dim: channels of the features, of the decoder and of the object pointers.
        memory_dim: channels of one memory token; divides `dim`.
        memory_layers: layers of the memory attention.
        memory_mlp_dim: hidden width of their feed-forward networks.
        decoder_heads: attention heads of the mask decoder.
        decoder_mlp_dim: hidden width of the mask decoder's feed-forward networks.
        num_memories: number of temporal codes: one prompted memory and `num_memories - 1` recent
            ones.
        dense_prompt_prior: whether the network was trained with a coarse mask, drawn from the
            clicks or the box, as an additional mask prompt (see `tam_ros.tracking.dense_prior`).
    """

    image_size: int = 1024
    dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_mlp_dim: int = 2048
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    num_memories: int = 7
    dense_prompt_prior: bool = False

    cross_attention: ClassVar[str] = 'full'
    high_resolution: ClassVar[bool] = False  # the decoder is given features of strides 8 and 4
    object_score: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that a network can be built."""
        if self.image_size % 16:
            raise ValueError(f'image_size {self.image_size} is not a multiple of 16')
        if self.dim % self.memory_dim:
            raise ValueError(f'memory_dim {self.memory_dim} does not divide dim {self.dim}')

    @property
    def grid(self) -> int:
        """Side of the feature map, tokens (stride 16)."""
        return self.image_size // 16

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution masks, pixels (stride 4)."""
        return self.image_size // 4

    @property
    def memory_grid(self) -> int:
        """Side of the map of a memory's tokens."""
        return self.grid

    @property
    def global_tokens(self) -> int:
        """Tokens of a memory without a position in the image; they come before the others."""
        return 0

    @property
    def memory_tokens(self) -> int:
        """Tokens of a memory."""
        return self.global_tokens + self.memory_grid**2

    @property
    def pooled(self) -> bool:
        """Whether the memory cross-attention pools its keys."""
        return self.cross_attention != 'full'


@dataclass(frozen=True)
class EfficientTAMConfig(ModelConfig):
    """Architecture of one EfficientTAM (arXiv 2411.18933).

    The defaults are those of the official `efficienttam_ti_512x512`. The official checkpoints
    differ only in `image_size`, `trunk_dim`/`trunk_heads` and `cross_attention`, which cannot all
    be derived from a checkpoint.

    Attributes:
        trunk_dim: width of the ViT trunk, channels.
        trunk_heads: attention heads of the trunk.
        trunk_depth: blocks of the trunk.
        window_size: side of the attention windows of the trunk, tokens.
        global_blocks: indices of the blocks that attend globally instead.
        cross_attention: `full` (SAM 2's), `pooled` (the paper's efficient cross-attention,
            official suffix `_1`) or `pooled_key_offset` (official suffix `_2`, which adds
            2 ln 2 to the key vectors instead of the logits).
        trunk_attention: how the tokens of the trunk are mixed: `softmax`, as in all official
            models; `relu` or `relu_layer_norm` (see `tam_ros.models.layers.dynamic_attention`); or
            `depthwise` (`tam_ros.models.vit.DynamicDepthwise`). The others than `softmax` are
            experiments: weights have to be trained with them.
    """

    image_size: int = 512
    trunk_dim: int = 192
    trunk_heads: int = 3
    trunk_depth: int = 12
    window_size: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    cross_attention: str = 'full'  # type: ignore[misc]  # a constant of other families
    trunk_attention: str = 'softmax'

    def __post_init__(self) -> None:
        """Check that a network can be built."""
        super().__post_init__()
        object.__setattr__(self, 'global_blocks', tuple(self.global_blocks))
        if self.cross_attention not in CROSS_ATTENTION_KINDS:
            raise ValueError(
                f'cross_attention is {self.cross_attention!r}; one of {CROSS_ATTENTION_KINDS}'
            )
        if self.trunk_attention not in TRUNK_ATTENTIONS:
            raise ValueError(
                f'trunk_attention is {self.trunk_attention!r}; one of {TRUNK_ATTENTIONS}'
            )
        if self.pooled and self.grid % 2:
            raise ValueError(
                f'image_size {self.image_size} gives a grid of {self.grid} tokens, which the '
                'pooled cross-attention cannot halve; use a multiple of 32'
            )


@dataclass(frozen=True)
class EdgeTAMConfig(ModelConfig):
    """Architecture of one EdgeTAM (arXiv 2501.07256); the defaults are the official model's.

    Attributes:
        trunk_dims: channels of the four stages of the RepViT trunk (strides 4 to 32).
        trunk_depths: blocks of each stage.
        global_latents: tokens of the perceiver that attend to the whole memory.
        patch_grid: windows along a side; each has one token that attends to it.
        perceiver_depth: layers of the perceiver.
    """

    memory_layers: int = 2
    trunk_dims: tuple[int, ...] = (48, 96, 192, 384)
    trunk_depths: tuple[int, ...] = (2, 2, 14, 2)
    global_latents: int = 256
    patch_grid: int = 16
    perceiver_depth: int = 2

    high_resolution: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that a network can be built."""
        super().__post_init__()
        object.__setattr__(self, 'trunk_dims', tuple(self.trunk_dims))
        object.__setattr__(self, 'trunk_depths', tuple(self.trunk_depths))
        if self.grid % self.patch_grid or self.image_size % 32:
            raise ValueError(
                f'image_size {self.image_size} gives a grid of {self.grid} tokens, which '
                f'{self.patch_grid} windows per side do not divide; '
                f'use a multiple of {16 * self.patch_grid}'
            )

    @property
    def memory_grid(self) -> int:
        """Side of the map of the tokens of windows."""
        return self.patch_grid

    @property
    def global_tokens(self) -> int:
        """Tokens that attend to the whole memory."""
        return self.global_latents
