"""The numbers that tell one EfficientTAM from another; no tensor library needed."""

from __future__ import annotations

from dataclasses import dataclass

CROSS_ATTENTION_KINDS = ('full', 'pooled', 'pooled_key_offset')
IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet, of RGB in 0..1
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EfficientTAMConfig:
    """Architecture of one EfficientTAM (arXiv 2411.18933).

    The defaults are those of the official ``efficienttam_ti_512x512``; the official checkpoints
    differ only in ``image_size``, ``trunk_dim``/``trunk_heads`` and ``cross_attention``, and a
    checkpoint does not say which of them it was trained with.

    Attributes:
        image_size: side of the square network input, pixels; a multiple of 16.
        trunk_dim: width of the ViT trunk, channels.
        trunk_heads: attention heads of the trunk.
        trunk_depth: blocks of the trunk.
        window_size: side of the attention windows of the trunk, tokens.
        global_blocks: indices of the blocks that attend globally instead.
        dim: channels of the features, of the decoder and of the object pointers.
        memory_dim: channels of one memory token; divides ``dim``.
        memory_layers: layers of the memory attention.
        memory_mlp_dim: hidden width of their feed-forward networks.
        cross_attention: ``full`` (SAM 2's), ``pooled`` (the paper's efficient cross-attention,
            official suffix ``_1``) or ``pooled_key_offset`` (official suffix ``_2``, which adds
            the 2 ln 2 to the key vectors instead of the logits).
        decoder_heads: attention heads of the mask decoder.
        decoder_mlp_dim: hidden width of the mask decoder's feed-forward networks.
        num_memories: temporal codes, hence memories: one prompted + this many less one recent.
        dense_prompt_prior: the network was trained with a coarse mask drawn from the clicks or
            the box as mask prompt beside them (see ``tam_ros.tracking.prior``).
    """

    image_size: int = 512
    trunk_dim: int = 192
    trunk_heads: int = 3
    trunk_depth: int = 12
    window_size: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_mlp_dim: int = 2048
    cross_attention: str = 'full'
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    num_memories: int = 7
    dense_prompt_prior: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers no network can be built from."""
        object.__setattr__(self, 'global_blocks', tuple(self.global_blocks))
        if self.cross_attention not in CROSS_ATTENTION_KINDS:
            raise ValueError(
                f'cross_attention is {self.cross_attention!r}; one of {CROSS_ATTENTION_KINDS}')
        if self.image_size % 16:
            raise ValueError(f'image_size {self.image_size} is not a multiple of 16')
        if self.pooled and self.grid % 2:
            raise ValueError(
                f'image_size {self.image_size} gives a grid of {self.grid} tokens, which the '
                'pooled cross-attention cannot halve; use a multiple of 32')
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
    def pooled(self) -> bool:
        """Whether the memory cross-attention pools its keys."""
        return self.cross_attention != 'full'
