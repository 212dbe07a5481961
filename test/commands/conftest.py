# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small clip, and a model to track it with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.io.video_writer import VideoWriter

FRAMES = 8
SIZE = (120, 160)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture(scope='session')
def graphs() -> str:
    """The folder of the bundled graphs, which take no torch."""
    folder = catalogue.engines_dir() / 'efficienttam_nano'
    if not folder.is_dir():
        pytest.skip('the weights of efficienttam_nano are not bundled yet')
    return str(folder)


@pytest.fixture(scope='session')
def pictures() -> np.ndarray:
    """A textured square that moves over a textured ground, uint8 [N, H, W, 3]."""
    rng = np.random.default_rng(3)
    ground = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), SIZE[::-1])
    square = cv2.resize(rng.integers(0, 255, (5, 5, 3), np.uint8), (40, 40))
    frames = np.repeat(ground[None], FRAMES, axis=0)
    for index, frame in enumerate(frames):
        frame[40:80, 30 + 4 * index : 70 + 4 * index] = square
    return frames


@pytest.fixture
def video(tmp_path, pictures) -> Path:
    path = tmp_path / 'my clip.mp4'
    with VideoWriter(path, 10) as writer:
        for rgb in pictures:
            writer.write(rgb)
    return path


@pytest.fixture
def frames(tmp_path, pictures) -> Path:
    """A folder of the pictures, named as cameras name them."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    for index, rgb in enumerate(pictures):
        cv2.imwrite(str(folder / f'cam_{index}.png'), rgb[..., ::-1])
    return folder


@pytest.fixture
def tam(graphs):
    """Return what runs `tam track` with the graphs; gives its exit status."""

    def run(*arguments) -> int:
        return main(['track', *map(str, arguments), '--weights', graphs])

    return run
