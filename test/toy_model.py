# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small model that is not a tracker, to show that only the tracker's runtime knows trackers.

It has two graphs: `encode_image` encodes an image, and `match_queries` compares its output, the
features, with a batch of query vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch import Tensor, nn

from tam_ros import catalogue
from tam_ros.model_files import GraphSpec, ModelSpec, TensorSpec
from tam_ros.models import build
from tam_ros.models.family import Family, HalfPrecision
from tam_ros.models.layers import MLP

NAME = 'toy_matcher'
KIND = 'matcher'


@dataclass(frozen=True)
class ToyConfig:
    """Numbers of a network.

    Attributes:
        image_size: side of the image, pixels; a multiple of 8.
        channels: of the features and the queries.
        queries: query vectors of one item of the batch.
    """

    image_size: int = 32
    channels: int = 16
    queries: int = 4


class ToyNetwork(nn.Module):
    """A patch embedding, and cosine-like similarities to queries."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.Sequential(
            nn.Conv2d(3, config.channels, kernel_size=4, stride=4),
            nn.GELU(),
            nn.Conv2d(config.channels, config.channels, kernel_size=2, stride=2),
        )
        self.matcher = Matcher(config.channels)


class Matcher(nn.Module):
    """Queries to the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(channels, channels)
        self.score = MLP((channels, channels, 1))

    def forward(self, features: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Compare features [1, C, G, G] with queries [B, Q, C].

        Returns:
            Similarities [B, Q, G, G], and scores of the queries [B, Q], 0 to 1.
        """
        channels, height, width = (int(size) for size in features.shape[1:])
        count = int(queries.shape[1])
        projected = self.proj(self.norm(queries))
        similarity = projected @ features.reshape(1, channels, height * width)
        weights = similarity.softmax(-1)
        attended = weights @ features.reshape(1, channels, height * width).transpose(1, 2)
        scores = self.score(attended).sigmoid()
        return similarity.reshape(-1, count, height, width), scores.reshape(-1, count)


class EncodeImage(nn.Module):
    """The first graph."""

    def __init__(self, network: ToyNetwork) -> None:
        super().__init__()
        self.encoder = network.encoder

    def forward(self, image: Tensor) -> Tensor:
        """uint8 image [1, R, R, 3] to features [1, C, R / 8, R / 8]."""
        return self.encoder(image.float().permute(0, 3, 1, 2) / 127.5 - 1)


def describe(network: ToyNetwork, name: str, weights: str, fingerprint: str) -> ModelSpec:
    """Return the spec of a network."""
    config = network.config
    size, grid = config.image_size, config.image_size // 8
    features = TensorSpec('features', 'float32', (1, config.channels, grid, grid))
    return ModelSpec(
        name=name,
        weights=weights,
        fingerprint=fingerprint,
        kind=KIND,
        graphs=(
            GraphSpec(
                'encode_image', (TensorSpec('image', 'uint8', (1, size, size, 3)),), (features,)
            ),
            GraphSpec(
                'match_queries',
                (
                    features,
                    TensorSpec(
                        'queries', 'float32', (config.queries, config.channels), batched=True
                    ),
                ),
                (
                    TensorSpec(
                        'similarity', 'float32', (config.queries, grid, grid), batched=True
                    ),
                    TensorSpec('scores', 'float32', (config.queries,), batched=True),
                ),
                tolerates_bf16=False,
            ),
        ),
    )


def graph_modules(network: ToyNetwork, spec: ModelSpec) -> dict[str, nn.Module]:
    """Return the module of each graph."""
    return {'encode_image': EncodeImage(network), 'match_queries': network.matcher}


FAMILY = Family(
    name='toy',
    config=ToyConfig,
    network=ToyNetwork,
    describe=describe,
    graph_modules=graph_modules,
    half_precision=HalfPrecision(
        halves=('encoder', 'matcher'), islands=(nn.LayerNorm,), heads=('matcher.score',)
    ),
)


def add(patch: pytest.MonkeyPatch) -> catalogue.Model:
    """Register the family and its catalogue entry until the patch is undone; return the entry."""
    entry = catalogue.Model(
        name=NAME,
        architecture=FAMILY.name,
        description='a model for tests',
        licence='Apache-2.0',
        config={},
        kind=KIND,
    )
    patch.setitem(build.FAMILIES, FAMILY.name, FAMILY)
    patch.setitem(catalogue.models(), NAME, entry)
    return entry
