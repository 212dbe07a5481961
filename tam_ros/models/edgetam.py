# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""EdgeTAM (arXiv 2501.07256): a CNN with a feature pyramid, and memories of a few tokens."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from tam_ros.models.config import EdgeTAMConfig
from tam_ros.models.family import Family
from tam_ros.models.network import TrackAnything
from tam_ros.models.perceiver import SpatialPerceiver
from tam_ros.models.repvit import PyramidEncoder, SqueezeExcite, fuse
from tam_ros.models.tracker_family import HALF_PRECISION, describe, graph_modules


class EdgeTAM(TrackAnything):
    """The network.

    The official code runs at 1024 pixels only. At other sizes (multiples of 256) the weights are
    used unchanged: the windows of the perceiver shrink with the map, so that memories keep their
    512 tokens, and the rotary encoding is that of the smaller map. The weights were not trained
    for these sizes, so accuracy is lower.
    """

    config: EdgeTAMConfig

    def __init__(self, config: EdgeTAMConfig) -> None:
        super().__init__(config, PyramidEncoder(config))
        self.spatial_perceiver = SpatialPerceiver(config)

    def _features(self, image: Tensor) -> tuple[Tensor, ...]:
        features, stride_8, stride_4 = self.image_encoder(image)
        decoder = self.sam_mask_decoder
        return features, decoder.conv_s1(stride_8), decoder.conv_s0(stride_4)

    def _tokens(self, memory: Tensor) -> Tensor:
        return self.spatial_perceiver(memory)


FAMILY = Family(
    name='edgetam',
    config=EdgeTAMConfig,
    network=EdgeTAM,
    describe=describe,
    graph_modules=graph_modules,
    half_precision=replace(
        HALF_PRECISION,
        halves=(*HALF_PRECISION.halves, 'spatial_perceiver'),
        islands=(*HALF_PRECISION.islands, SqueezeExcite),
    ),
    fuse=fuse,
)
