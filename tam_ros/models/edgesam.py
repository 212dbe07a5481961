# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""EdgeSAM (Zhou et al., arXiv 2312.06660): SAM for single images, distilled into a small CNN.

RepViT-M1, whose last two maps are joined, and the prompt encoder and mask decoder of SAM
(arXiv 2304.02643). Written from descriptions and measurements of the official model, not from its
code: that, and the weights, are under a licence that excludes commercial use (S-Lab License 1.0).

R is the side of the network input in pixels, G = R / 16, M = R / 4, P point tokens, B prompts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from tam_ros.model_files import ABSENT, SEGMENTER, GraphSpec, ModelSpec, TensorSpec
from tam_ros.models.family import Family, HalfPrecision
from tam_ros.models.layers import LayerNorm2d
from tam_ros.models.mask_decoder import NUM_MASK_TOKENS, MaskDecoder
from tam_ros.models.network import HIDDEN
from tam_ros.models.prompt_encoder import PromptEncoder
from tam_ros.models.repvit import RepViT, SqueezeExcite, fuse

POINT_TOKENS = 16  # a box and 14 clicks, or 15 clicks, and the padding token of SAM
UPSAMPLINGS = ('bicubic', 'bilinear')


@dataclass(frozen=True)
class EdgeSAMConfig:
    """Architecture of one EdgeSAM; the defaults are the official model's.

    Attributes:
        image_size: R, a multiple of 32.
        dim: channels of the features.
        decoder_heads: attention heads of the mask decoder.
        decoder_mlp_dim: hidden width of its feed-forward networks.
        trunk_dims: channels of the four stages of the trunk (strides 4 to 32).
        trunk_depths: blocks of each stage.
        upsampling: how the map of stride 32 is enlarged: `bicubic` as the official PyTorch model,
            or `bilinear` as the official exports to ONNX and CoreML, with other results.
    """

    image_size: int = 1024
    dim: int = 256
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    trunk_dims: tuple[int, ...] = (48, 96, 192, 384)
    trunk_depths: tuple[int, ...] = (2, 2, 14, 2)
    upsampling: str = 'bicubic'

    high_resolution: ClassVar[bool] = False
    object_score: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check that a network can be built."""
        object.__setattr__(self, 'trunk_dims', tuple(self.trunk_dims))
        object.__setattr__(self, 'trunk_depths', tuple(self.trunk_depths))
        if self.image_size % 32:
            raise ValueError(f'image_size {self.image_size} is not a multiple of 32')
        if self.upsampling not in UPSAMPLINGS:
            raise ValueError(f'upsampling is {self.upsampling!r}; one of {UPSAMPLINGS}')


class ImageEncoder(nn.Module):
    """Trunk, and a neck that joins its maps of strides 16 and 32."""

    def __init__(self, config: EdgeSAMConfig) -> None:
        super().__init__()
        dim = config.dim
        self.trunk = RepViT(config.trunk_dims, config.trunk_depths)
        self.fuse_stage2 = nn.Conv2d(config.trunk_dims[-2], dim, kernel_size=1, bias=False)
        self.fuse_stage3 = nn.Conv2d(config.trunk_dims[-1], dim, kernel_size=1, bias=False)
        self.neck = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=1, bias=False),
            LayerNorm2d(dim),
            nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(dim),
        )
        self.upsampling = config.upsampling

    def forward(self, x: Tensor) -> Tensor:
        """Normalised image [1, 3, R, R] to features [1, dim, G, G]."""
        trunk = self.trunk
        x = trunk.stages_2(trunk.stages_1(trunk.stages_0(trunk.stem(x))))
        # The official trunk counts the block before a downsampling to the finer stage.
        fine = trunk.stages_3.downsample.pre_block(x)
        coarse = trunk.stages_3.blocks(trunk.stages_3.downsample.halve(fine))
        enlarged = functional.interpolate(
            self.fuse_stage3(coarse), scale_factor=2.0, mode=self.upsampling, align_corners=False
        )
        return self.neck(self.fuse_stage2(fine) + enlarged)


class EdgeSAM(nn.Module):
    """The network; but for the trunk, modules are named as in the checkpoints."""

    def __init__(self, config: EdgeSAMConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config.dim, config.image_size)
        self.mask_decoder = MaskDecoder(config)


class DecodeMasks(nn.Module):
    """The graph of the prompt encoder and the mask decoder."""

    def __init__(self, network: EdgeSAM) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, features: Tensor, points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict the candidate masks of each prompt.

        Args:
            features: of the image encoder [1, dim, G, G].
            points: pixels (x, y) of the network input [B, P, 2].
            labels: int [B, P], see `tam_ros.models.prompt_encoder`.
            mask: mask prompt, logits [B, 1, M, M].
            has_mask: [B], 1 where there is a mask prompt, else 0.

        Returns:
            Mask logits [B, 4, M, M], and predicted IoUs [B, 4], which were not distilled.
        """
        encoder = self.network.prompt_encoder
        grid = self.network.config.image_size // 16
        decoded = self.network.mask_decoder(
            features,
            encoder.pe_layer.dense(grid),
            encoder.points(points, labels),
            encoder.dense(mask, has_mask),
            (labels == ABSENT) * HIDDEN,
        )
        return decoded.masks, decoded.ious


def describe(network: EdgeSAM, name: str, weights: str, fingerprint: str) -> ModelSpec:
    """Return the spec of a network."""
    size, dim = network.config.image_size, network.config.dim
    features = TensorSpec('features', 'float32', (1, dim, size // 16, size // 16))
    side = size // 4
    encoder = GraphSpec(
        'image_encoder', (TensorSpec('image', 'float32', (1, 3, size, size)),), (features,)
    )
    decoder = GraphSpec(
        'mask_decoder',
        (
            features,
            TensorSpec('points', 'float32', (POINT_TOKENS, 2), batched=True),
            TensorSpec('labels', 'int64', (POINT_TOKENS,), batched=True),
            TensorSpec('mask', 'float32', (1, side, side), batched=True),
            TensorSpec('has_mask', 'float32', (), batched=True),
        ),
        (
            TensorSpec('masks', 'float32', (NUM_MASK_TOKENS, side, side), batched=True),
            TensorSpec('ious', 'float32', (NUM_MASK_TOKENS,), batched=True),
        ),
    )
    return ModelSpec(
        name=name,
        weights=weights,
        fingerprint=fingerprint,
        kind=SEGMENTER,
        graphs=(encoder, decoder),
    )


def graph_modules(network: EdgeSAM, spec: ModelSpec) -> dict[str, nn.Module]:
    """Return the module of each graph."""
    return {'image_encoder': network.image_encoder, 'mask_decoder': DecodeMasks(network)}


# --- the names in official checkpoints ---

_TRUNK = 'image_encoder.features.'
_BLOCK = (  # of official names to ours, inside a block
    (r'^token_mixer\.0\.(conv1?)\.', r'token_mixer.\1.'),
    (r'^token_mixer\.1\.', 'se.'),
    (r'^channel_mixer\.m\.0\.', 'channel_mixer.conv1.'),
    (r'^channel_mixer\.m\.2\.', 'channel_mixer.conv2.'),
)
_DOWNSAMPLE = (
    (r'^token_mixer\.0\.', 'spatial_downsample.'),
    (r'^token_mixer\.2\.', 'channel_downsample.'),
    (r'^channel_mixer\.m\.0\.', 'ffn.conv1.'),
    (r'^channel_mixer\.m\.2\.', 'ffn.conv2.'),
)
_OTHERS = (
    (r'^image_encoder\.fuse_stage3\.op_list\.0\.', 'image_encoder.fuse_stage3.'),
    (r'\.mlp\.lin1\.', '.mlp.layers.0.'),
    (r'\.mlp\.lin2\.', '.mlp.layers.1.'),
)


def official_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an official checkpoint by the names of the network.

    The official trunk is a flat list. Its stages follow from the names: a block whose first
    convolution is not a branch halves the map, and the block before it belongs to it.
    """
    kinds: dict[int, bool] = {}  # whether the part of this number halves the map
    for name in state:
        found = re.match(rf'{re.escape(_TRUNK)}(\d+)\.(token_mixer\.0\.c\.)?', name)
        if found:
            kinds[int(found[1])] = kinds.get(int(found[1]), False) or found[2] is not None
    places = _places(kinds)
    return {_own_name(name, kinds, places): value for name, value in state.items()}


def _places(kinds: dict[int, bool]) -> dict[int, str]:
    """Return the name of our module for each part of the official trunk."""
    places, stage, block = {0: 'stem.'}, 0, 0
    for number in sorted(kinds):
        if number == 0:
            continue
        if kinds[number]:
            places[number] = f'stages_{stage}.downsample.'
        elif kinds.get(number + 1):
            stage, block = stage + 1, 0
            places[number] = f'stages_{stage}.downsample.pre_block.'
        else:
            places[number] = f'stages_{stage}.blocks.{block}.'
            block += 1
    return places


def _own_name(name: str, kinds: dict[int, bool], places: dict[int, str]) -> str:
    if not name.startswith(_TRUNK):
        for pattern, ours in _OTHERS:
            name = re.sub(pattern, ours, name)
        return name
    number, _, rest = name.removeprefix(_TRUNK).partition('.')
    if not number.isdigit():
        return name
    if int(number) == 0:
        rest = re.sub(r'^0\.', 'conv1.', re.sub(r'^2\.', 'conv2.', rest))
    for pattern, ours in _DOWNSAMPLE if kinds[int(number)] else _BLOCK:
        rest = re.sub(pattern, ours, rest)
    return f'image_encoder.trunk.{places[int(number)]}{rest}'


FAMILY = Family(
    name='edgesam',
    config=EdgeSAMConfig,
    network=EdgeSAM,
    describe=describe,
    graph_modules=graph_modules,
    half_precision=HalfPrecision(
        halves=('image_encoder', 'mask_decoder'),
        islands=(nn.LayerNorm, LayerNorm2d, SqueezeExcite),
        heads=('mask_decoder.output_hypernetworks_mlps', 'mask_decoder.iou_prediction_head'),
    ),
    fuse=fuse,
    official_state=official_state,
)
