# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Small synthetic sources, so that these tests need no data set.

The fixtures import what needs optional libraries: without those, the test files are skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from tam_ros.models.config import EfficientTAMConfig

if TYPE_CHECKING:
    from training.sources import Sources


@pytest.fixture(scope='session')
def sources() -> Sources:
    """Two images with two labelled discs each, and one without labels."""
    from training.sources import LabelledImage, Sources

    rng = np.random.default_rng(0)
    images = []
    for number in range(3):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        rgb = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
        labels = np.zeros((120, 160), np.uint8)
        if number < 2:
            cv2.circle(rgb, (50, 60), 30, (220, 40, 30), -1)
            cv2.circle(labels, (50, 60), 30, 1, -1)
            cv2.circle(rgb, (115, 50), 25, (20, 60, 230), -1)
            cv2.circle(labels, (115, 50), 25, 2, -1)
        images.append(LabelledImage(rgb, labels, f'{number}.png'))
    return Sources(stills=images[:2], frames=images)


@pytest.fixture(scope='session')
def clips(sources, tmp_path_factory):
    """A folder with six training clips and two held-out ones of five frames at 96 pixels."""
    from training import render

    folder = tmp_path_factory.mktemp('clips')
    render.write_shard(folder / 'train_0_00000', 0, 6, sources, frames=5, size=96)
    render.write_shard(folder / 'val_0_00000', 100, 2, sources, frames=5, size=96)
    return folder


@pytest.fixture(scope='session')
def config() -> EfficientTAMConfig:
    """A network small enough to train in a test."""
    return EfficientTAMConfig(
        image_size=64,
        trunk_dim=32,
        trunk_heads=2,
        trunk_depth=2,
        window_size=2,
        global_blocks=(1,),
        dim=32,
        memory_dim=16,
        memory_layers=1,
        memory_mlp_dim=32,
        cross_attention='pooled',
        decoder_heads=2,
        decoder_mlp_dim=32,
        dense_prompt_prior=True,
    )
