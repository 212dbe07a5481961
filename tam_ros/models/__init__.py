# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The networks, with the module names of the official checkpoints (needs torch)."""

from tam_ros.models.config import EdgeTAMConfig, EfficientTAMConfig, ModelConfig
from tam_ros.models.edgetam import EdgeTAM
from tam_ros.models.efficienttam import EfficientTAM
from tam_ros.models.network import TrackAnything

__all__ = [
    'EdgeTAM',
    'EdgeTAMConfig',
    'EfficientTAM',
    'EfficientTAMConfig',
    'ModelConfig',
    'TrackAnything',
]
