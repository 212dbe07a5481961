"""The networks, one file each, with the module names of the official checkpoints (needs torch)."""

from tam_ros.models.config import EfficientTAMConfig
from tam_ros.models.efficienttam import EfficientTAM

__all__ = ['EfficientTAM', 'EfficientTAMConfig']
