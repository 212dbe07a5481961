# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A short clip and two models to track it with: the bundled one, and a fake one that is fast."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from tracking.fake_runtime import FakeRuntime

from tam_ros import catalogue, loading
from tam_ros.cli import main
from tam_ros.io.video_writer import VideoWriter

FRAMES = 8
SIZE = (120, 160)
FAKE = 'fake'  # as --weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture(scope='session')
def graphs() -> str:
    """The folder of the bundled graphs, which need no torch."""
    folder = catalogue.engines_dir() / 'efficienttam_nano'
    if not folder.is_dir():
        pytest.skip('the weights of efficienttam_nano are not bundled yet')
    return str(folder)


class ClosableRuntime(FakeRuntime):
    """A fake runtime that counts the calls of `close`."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def opened(monkeypatch) -> list[ClosableRuntime]:
    """Make `FAKE` weights open a fake runtime; return the fake runtimes that were opened."""
    runtimes: list[ClosableRuntime] = []
    open_runtime = loading.open_runtime

    def open_fake(model, weights=None, *arguments, **options):
        if weights != FAKE:
            return open_runtime(model, weights, *arguments, **options)
        runtimes.append(ClosableRuntime())
        return runtimes[-1]

    monkeypatch.setattr(loading, 'open_runtime', open_fake)
    return runtimes


@pytest.fixture(scope='session')
def pictures() -> np.ndarray:
    """A textured square that moves over a textured background, uint8 [N, H, W, 3]."""
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
    """A folder of the pictures, with names like those of cameras."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    for index, rgb in enumerate(pictures):
        cv2.imwrite(str(folder / f'cam_{index}.png'), rgb[..., ::-1])
    return folder


@pytest.fixture
def tam_fake():
    """Return a function that runs a command with the fake model and returns its exit status."""

    def run(*arguments) -> int:
        return main([*map(str, arguments), '--weights', FAKE])

    return run


@pytest.fixture
def tam(tam_fake):
    """Return a function that runs `tam track` with the fake model and returns its exit status."""
    return partial(tam_fake, 'track')


@pytest.fixture
def tam_bundled(graphs):
    """Return a function that runs `tam track` with the bundled model and returns its status."""

    def run(*arguments) -> int:
        # Several threads wait for each other if the machine is busy.
        return main(['track', *map(str, arguments), '--weights', graphs, '--threads', '1'])

    return run
