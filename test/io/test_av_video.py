# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A video that OpenCV does not decode: with PyAV, and what is said without it.

`av1.mkv` has 12 pictures of 64x48 at 10 Hz, made with PyAV: grey from left to right, twice the
column, and a bar of 250 that is 8 columns wide and moves by 4 per picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tam_ros.io import video_packets
from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source

CLIP = Path(__file__).with_name('av1.mkv')


def test_without_pyav_the_codec_is_named_and_what_helps(monkeypatch):
    monkeypatch.setattr(video_packets, 'is_installed', lambda: False)
    with pytest.raises(SourceError, match="codec is 'AV01'.*pip install av.*ffmpeg -i .*av1.mkv"):
        open_source(CLIP)


def test_with_pyav_it_is_decoded():
    pytest.importorskip('av')
    source = open_source(CLIP)
    assert (source.count_frames(), source.rate_hz) == (12, 10)
    frames = list(source)
    assert [frame.stamp for frame in frames] == pytest.approx(np.arange(12) / 10)
    for index, frame in enumerate(frames):
        expected = np.tile(np.arange(64) * 2, (48, 1))
        expected[:, 4 * index : 4 * index + 8] = 250
        assert np.abs(frame.rgb[..., 1].astype(int) - expected).mean() < 8
    assert [frame.stamp for frame in open_source(CLIP, rate_hz=5)][:3] == [0.0, 0.2, 0.4]
