# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""CLIP (Radford et al., arXiv 2103.00020): a text tower, and an image tower with dense outputs.

The image tower returns a feature of every patch instead of one of the image. As in MaskCLIP
(Zhou et al., arXiv 2112.01071), the attention of the last block, or the attention pool of a ResNet
(`clip_resnet`), is replaced by its path of values, so that each feature belongs to its place and
can be compared with the features of texts. Module names are the keys of OpenAI's checkpoints.

B images, N places for patches of P x P pixels, G patches along a side in training, W the width of
the tower, D the width of the features that both towers have in common, L tokens of a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tam_ros.model_files import CLIP as CLIP_KIND
from tam_ros.model_files import GraphSpec, ModelSpec, TensorSpec
from tam_ros.models.clip_resnet import ModifiedResNet
from tam_ros.models.clip_transformer import Transformer
from tam_ros.models.clip_weights import config_from, official_state
from tam_ros.models.family import Family, HalfPrecision
from tam_ros.models.layers import sizes

HEAD_WIDTH = 64  # of every published CLIP
FEWEST_HEADS = 4  # of networks narrower than the published ones
# Far above those of published models; numbers from a damaged file would need any amount of memory.
_LARGEST = {
    'embed_dim': 4096,
    'vision_width': 4096,
    'text_width': 4096,
    'patch_size': 128,
    'grid': 128,
    'context_length': 4096,
    'vocabulary': 1 << 20,
    'tokens': 16384,
    'window': 4096,
}
HIDDEN = -1e4  # added to a logit of the attention; its exponential is 0, in half precision as well


@dataclass(frozen=True)
class ClipConfig:
    """Architecture of one CLIP; the defaults are those of ViT-B/32.

    Everything but the heads follows from the shapes of a checkpoint, see
    `tam_ros.models.clip_weights.config_from`.

    Attributes:
        embed_dim: D.
        vision_width: W; of a ResNet, the channels after its stem.
        vision_layers: blocks of a ViT.
        resnet_layers: blocks of the four stages of a ResNet; empty for a ViT.
        patch_size: P of a ViT.
        grid: G; of a ResNet, the side of its last map in training.
        vision_heads: attention heads of the image tower; 0 for those of CLIP's rule, which are
            64 wide.
        text_width: width of the text tower; 0 if there is none.
        text_layers: blocks of the text tower.
        text_heads: its attention heads; 0 as for `vision_heads`.
        context_length: L.
        vocabulary: size of the vocabulary.
        tokens: N, which bounds the size of an image that is encoded at once; 0 for those of twice
            the side in training. The place of a token is given with it, so the same graph takes
            images of any aspect ratio.
        window: side of the square image that a ResNet encodes at once, pixels; a multiple of 32.
            0 for twice the side in training.
        official: compute as the repository of MaskCLIP does, with exact GELU in place of
            QuickGELU and 1e-6 in place of 1e-5 in the norms; for comparisons with it.
    """

    embed_dim: int = 512
    vision_width: int = 768
    vision_layers: int = 12
    resnet_layers: tuple[int, ...] = ()
    patch_size: int = 32
    grid: int = 7
    vision_heads: int = 0
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 0
    context_length: int = 77
    vocabulary: int = 49408
    tokens: int = 0
    window: int = 0
    official: bool = False

    def __post_init__(self) -> None:
        """Check that a network can be built; ValueError says why it cannot."""
        object.__setattr__(self, 'resnet_layers', tuple(self.resnet_layers))
        for name, largest in _LARGEST.items():
            if not 0 <= getattr(self, name) <= largest:
                raise ValueError(f'{name} is {getattr(self, name)}, not 0 to {largest}')
        if self.window % 32:
            raise ValueError(f'window is {self.window}, not a multiple of 32')
        for name, heads, width in (
            ('vision_heads', self.image_heads, self.attention_width),
            ('text_heads', self.words_heads, self.text_width),
        ):
            if width % heads:
                raise ValueError(f'{name}: {heads} heads do not divide the width {width}')

    @property
    def attention_width(self) -> int:
        """Width of the tokens that attend to each other in the image tower."""
        return self.vision_width * (32 if self.resnet_layers else 1)

    @property
    def image_heads(self) -> int:
        """Attention heads of the image tower."""
        return self.vision_heads or _heads(self.attention_width)

    @property
    def words_heads(self) -> int:
        """Attention heads of the text tower."""
        return self.text_heads or _heads(self.text_width)

    @property
    def places(self) -> int:
        """N."""
        return self.tokens or (2 * self.grid) ** 2

    @property
    def window_size(self) -> int:
        """Side of the image that a ResNet encodes at once, pixels."""
        return self.window or self.grid * 64


def _heads(width: int) -> int:
    """Return CLIP's number of heads; of a small network, at most four that divide its width."""
    wanted = max(width // HEAD_WIDTH, FEWEST_HEADS)
    return next(heads for heads in range(wanted, 0, -1) if width % heads == 0)


class VisionTransformer(nn.Module):
    """The image tower of a ViT."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width, eps = config.vision_width, 1e-6 if config.official else 1e-5
        scale = width**-0.5
        self.conv1 = nn.Conv2d(
            3, width, kernel_size=config.patch_size, stride=config.patch_size, bias=False
        )
        self.class_embedding = nn.Parameter(torch.randn(width) * scale)
        self.positional_embedding = nn.Parameter(torch.randn(config.grid**2 + 1, width) * scale)
        self.ln_pre = nn.LayerNorm(width, eps=eps)
        self.transformer = Transformer(
            width, config.image_heads, config.vision_layers, config.official
        )
        self.ln_post = nn.LayerNorm(width, eps=eps)
        self.proj = nn.Parameter(torch.randn(width, config.embed_dim) * scale)

    def embed(self, patches: Tensor, position: Tensor) -> Tensor:
        """Return the tokens [B, 1 + N, W] before the first block, that of the class first."""
        places = self.positional_embedding
        x = functional.linear(patches, self.conv1.weight.flatten(1))
        first = (self.class_embedding + places[0]) + 0 * x[:, :1]
        return self.ln_pre(torch.cat((first, x + position @ places[1:]), dim=1))

    def bias(self, valid: Tensor) -> Tensor:
        """Return the bias [B, 1, 1, 1 + N] that hides unused places."""
        present = torch.cat((0 * valid[:, :1] + 1, valid), dim=1)
        return ((1 - present).to(self.proj.dtype) * HIDDEN)[:, None, None]

    def forward(self, patches: Tensor, position: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Encode patches densely.

        Args:
            patches: [B, N, 3 * P * P], normalised, channels first.
            position: [B, N, G * G], the weights with which the learned embeddings of the places in
                the training grid make up that of a patch.
            valid: int64 [B, N], 1 or 0 for places without a patch.

        Returns:
            Features [B, N, D], zeros in unused places, and the keys of the last block [B, N, W].
        """
        x, bias = self.embed(patches, position), self.bias(valid)
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            x = block(x, bias)
        keys, values = last.keys_and_values(x[:, 1:])
        features = self.ln_post(values) @ self.proj
        return features * valid[..., None].to(features.dtype), keys


class CLIP(nn.Module):
    """Both towers; `visual` is a `VisionTransformer` or a `ModifiedResNet`."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        if config.resnet_layers:
            self.visual: nn.Module = ModifiedResNet(
                config.resnet_layers, config.vision_width, config.grid, config.embed_dim
            )
        else:
            self.visual = VisionTransformer(config)
        if config.text_width:
            width = config.text_width
            self.transformer = Transformer(width, config.words_heads, config.text_layers)
            self.token_embedding = nn.Embedding(config.vocabulary, width)
            self.positional_embedding = nn.Parameter(
                torch.randn(config.context_length, width) * 0.01
            )
            self.ln_final = nn.LayerNorm(width)
            self.text_projection = nn.Parameter(torch.randn(width, config.embed_dim) * width**-0.5)
            self.logit_scale = nn.Parameter(torch.tensor(4.6052))  # ln 100; not used here


class TextEncoder(nn.Module):
    """The graph of the text tower; shares its parts with the network."""

    def __init__(self, network: CLIP) -> None:
        super().__init__()
        self.transformer = network.transformer
        self.token_embedding = network.token_embedding
        self.positional_embedding = network.positional_embedding
        self.ln_final = network.ln_final
        self.text_projection = network.text_projection

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode texts.

        Args:
            tokens: int64 [B, L]; the highest number is the end of a text.

        Returns:
            Features [B, D], not normalised.
        """
        length = sizes(tokens)[1]
        later = torch.ones(length, length).triu(1) * HIDDEN  # a token attends to earlier ones
        x = self.token_embedding(tokens) + self.positional_embedding
        for block in self.transformer.resblocks:
            x = block(x, later)
        # As floats, which are exact here: not every runtime finds the largest of integers.
        end = tokens.to(x.dtype).argmax(dim=1, keepdim=True)
        at_end = (torch.arange(length) == end).to(x.dtype)[..., None]
        return (self.ln_final(x) * at_end).sum(1) @ self.text_projection


def describe(network: CLIP, name: str, weights: str, fingerprint: str) -> ModelSpec:
    """Return the spec of a network; the sizes of its inputs tell users of the graphs all."""
    config = network.config
    if config.resnet_layers:
        side = config.window_size
        grid, width = side // 32, config.attention_width
        inputs: tuple[TensorSpec, ...] = (_batched('image', 3, side, side),)
        outputs: tuple[TensorSpec, ...] = (
            _batched('features', config.embed_dim, grid, grid),
            _batched('keys', width, grid, grid),
        )
    else:
        places = config.places
        inputs = (
            _batched('patches', places, 3 * config.patch_size**2),
            _batched('position', places, config.grid**2),
            _batched('valid', places, dtype='int64'),
        )
        outputs = (
            _batched('features', places, config.embed_dim),
            _batched('keys', places, config.vision_width),
        )
    graphs = [GraphSpec('image_encoder', inputs, outputs)]
    if config.text_width:
        graphs.append(
            GraphSpec(
                'text_encoder',
                (_batched('tokens', config.context_length, dtype='int64'),),
                (_batched('text_features', config.embed_dim),),
            )
        )
    return ModelSpec(
        name=name, weights=weights, fingerprint=fingerprint, kind=CLIP_KIND, graphs=tuple(graphs)
    )


def _batched(name: str, *shape: int, dtype: str = 'float32') -> TensorSpec:
    return TensorSpec(name, dtype, shape, batched=True)


def graph_modules(network: CLIP, spec: ModelSpec) -> dict[str, nn.Module]:
    """Return the module of each graph."""
    modules: dict[str, nn.Module] = {'image_encoder': network.visual}
    if 'text_encoder' in spec.graph_names:
        modules['text_encoder'] = TextEncoder(network)
    return modules


FAMILY = Family(
    name='clip',
    config=ClipConfig,
    network=CLIP,
    describe=describe,
    graph_modules=graph_modules,
    # A text is encoded once, so its tower need not be fast.
    half_precision=HalfPrecision(halves=('visual',), islands=(nn.LayerNorm,), heads=()),
    official_state=official_state,
    config_from=config_from,
)
