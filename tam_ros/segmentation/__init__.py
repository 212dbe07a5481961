# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image mode: what prompts, or a grid of clicks, show in one image. Nothing is tracked."""

from tam_ros.segmentation.everything import EverythingOptions, Proposal
from tam_ros.segmentation.segmenter import Segmentation, Segmenter

__all__ = ['EverythingOptions', 'Proposal', 'Segmentation', 'Segmenter']
