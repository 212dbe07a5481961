# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Animated images: every format, their times, and a damaged file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tam_ros.io.animation import Animation, is_animation
from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source

DURATIONS_MS = [40, 100, 40, 40]


def pictures() -> list[np.ndarray]:
    """A bar that moves over a grey slope."""
    found = []
    for index in range(len(DURATIONS_MS)):
        grey = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
        grey[:, 10 * index : 10 * index + 8] = 250
        found.append(np.dstack([grey] * 3))
    return found


def save(path, frames):
    first, *others = map(Image.fromarray, frames)
    first.save(
        path, save_all=True, append_images=others, duration=DURATIONS_MS, lossless=True, loop=0
    )


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp'])
def test_every_format(tmp_path, suffix):
    path = tmp_path / f'clip.{suffix}'
    save(path, pictures())
    source = open_source(path)
    assert isinstance(source, Animation)
    assert (source.count, source.count_frames(), source.rate_hz) == (4, 4, None)
    for _ in range(2):
        frames = list(source)
        for frame, picture in zip(frames, pictures(), strict=True):
            assert np.abs(frame.rgb.astype(int) - picture).max() <= 2
        assert [frame.stamp for frame in frames] == [0.0, 0.04, 0.14, 0.18]


def test_a_given_rate_replaces_the_times(tmp_path):
    save(tmp_path / 'clip.webp', pictures())
    frames = open_source(tmp_path / 'clip.webp', rate_hz=10)
    assert [frame.stamp for frame in frames] == [0.0, 0.1, 0.2, 0.3]


def test_a_still_image_and_a_video_are_no_animation(tmp_path):
    Image.fromarray(pictures()[0]).save(tmp_path / 'still.png')
    (tmp_path / 'clip.mp4').write_bytes(bytes(100))
    assert not is_animation(tmp_path / 'still.png')
    assert not is_animation(tmp_path / 'clip.mp4')


def test_a_damaged_file(tmp_path):
    save(tmp_path / 'clip.png', pictures())
    data = (tmp_path / 'clip.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(data[: data.rindex(b'fdAT') + 10])
    frames = iter(open_source(tmp_path / 'cut.png'))
    assert next(frames).rgb.shape == (48, 64, 3)
    with pytest.raises(SourceError, match=r'cut.png: frame \d of 4 cannot be read'):
        list(frames)


def test_an_animation_in_a_folder_is_said(tmp_path, caplog):
    (tmp_path / 'folder').mkdir()
    save(tmp_path / 'folder' / '0.webp', pictures())
    assert len(list(open_source(tmp_path / 'folder'))) == 1
    assert '0.webp is animated' in caplog.text
