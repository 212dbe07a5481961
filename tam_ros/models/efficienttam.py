# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""EfficientTAM (arXiv 2411.18933): a plain ViT, and memories as large as the feature map."""

from __future__ import annotations

from tam_ros.models.config import EfficientTAMConfig
from tam_ros.models.family import Family
from tam_ros.models.network import TrackAnything
from tam_ros.models.tracker_family import HALF_PRECISION, describe, graph_modules
from tam_ros.models.vit import ImageEncoder


class EfficientTAM(TrackAnything):
    """The network."""

    config: EfficientTAMConfig

    def __init__(self, config: EfficientTAMConfig) -> None:
        super().__init__(config, ImageEncoder(config))


FAMILY = Family(
    name='efficienttam',
    config=EfficientTAMConfig,
    network=EfficientTAM,
    describe=describe,
    graph_modules=graph_modules,
    half_precision=HALF_PRECISION,
)
