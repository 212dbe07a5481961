# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""EfficientTAM (arXiv 2411.18933): a plain ViT, and memories as large as the feature map."""

from __future__ import annotations

from tam_ros.models.config import EfficientTAMConfig
from tam_ros.models.image_encoder import ImageEncoder
from tam_ros.models.network import TrackAnything


class EfficientTAM(TrackAnything):
    """The network."""

    config: EfficientTAMConfig

    def __init__(self, config: EfficientTAMConfig) -> None:
        super().__init__(config, ImageEncoder(config))
