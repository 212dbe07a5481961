# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Recordings of a square that moves, and a job that labels them with a fake model."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tracking.fake_runtime import FakeRuntime

from tam_ros import loading

SIZE = (60, 80)
FRAMES = 6


@pytest.fixture(autouse=True)
def fake_model(monkeypatch, tmp_path):
    """Replace every model by one that is fast."""
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(loading, 'open_runtime', lambda *_, **__: FakeRuntime())


def write_clip(folder: Path, seed: int, count: int = FRAMES) -> Path:
    """Write a folder of pictures."""
    folder.mkdir(parents=True)
    ground = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8)
    for index in range(count):
        picture = ground.copy()
        picture[20:40, 10 + 3 * index : 30 + 3 * index] = 250
        cv2.imwrite(str(folder / f'{index:03}.png'), picture)
    return folder


@pytest.fixture
def clips(tmp_path) -> Path:
    """A folder with three clips."""
    for seed, name in enumerate(('first', 'second', 'third')):
        write_clip(tmp_path / 'clips' / name, seed)
    return tmp_path / 'clips'


@pytest.fixture
def write_job(tmp_path, clips):
    """Return a function that writes a job file; arguments replace its entries."""

    def write(**changes) -> Path:
        entries = {
            'recordings': [{'source': 'clips/*', 'prompts': ['1:box:10,20,30,40']}],
            'output': 'out',
            'write': ['png'],
        } | changes
        path = tmp_path / 'job.yaml'
        path.write_text(yaml.safe_dump({k: v for k, v in entries.items() if v is not None}))
        return path

    return write
